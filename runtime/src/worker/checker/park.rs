//! Parks halves that were claimed: an operator must decide about them.

use super::asker::Asker;
use crate::message::MessageId;
use crate::message::state::Event;
use crate::store::{Token, Transition};

impl Asker {
    /// Parks a half that was claimed.
    pub(super) async fn park(&self, id: MessageId, held_by: Token, reason: String) {
        // What the store fails over lapses, and comes again.
        self.held.settle(Event::Park, &[parking(id, held_by, reason)], None).await;
    }
}

/// A half that is to be parked, and says so in the log.
pub(super) fn parking(id: MessageId, held_by: Token, reason: String) -> Transition {
    tracing::error!(%id, reason, "a half message is parked: an operator must confirm or cancel it");
    Transition::of(id).held_by(held_by).because(reason)
}
