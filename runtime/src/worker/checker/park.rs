//! Parks halves that were claimed: an operator must decide about them.

use super::asker::Asker;
use crate::message::MessageId;
use crate::message::state::Event;
use crate::store::{Token, Transition};

impl Asker {
    /// Parks a half that was claimed. `name`: who had no answer, if that is known.
    pub(super) async fn park(&self, id: MessageId, held_by: Token, name: Option<&str>, reason: String) {
        // What the store fails over lapses, and comes again.
        let mut parking = Transition::of(id).held_by(held_by).because(reason);
        parking.counted_as = name.map(Into::into);
        self.held.settle(Event::Park, &[parking], None).await;
    }
}
