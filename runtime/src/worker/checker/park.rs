//! Parks halves that were claimed: an operator must decide about them.

use super::asker::Asker;
use crate::message::MessageId;
use crate::message::state::Event;
use crate::store::{Token, Transition};

impl Asker {
    /// Parks a half that was claimed.
    pub(super) async fn park(&self, id: MessageId, held_by: Token, reason: String) {
        // What the store fails over lapses, and comes again.
        let parking = Transition::of(id).held_by(held_by).because(reason);
        self.held.settle(Event::Park, &[parking], None).await;
    }
}
