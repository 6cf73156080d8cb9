//! A store that can't hold every text: what is counted arrives all the same.

use futures_util::future::join_all;
use it::{Action, Reply};
use transactional_message::{MessageState, Messenger};

use crate::World;

/// Counts arrive, whatever the texts are that come with them: `messenger` has three attempts of each kind, and a store
/// that can't hold everything.
pub(crate) async fn counts_arrive_without_their_texts(world: &World, messenger: &Messenger) {
    for id in 0..5 {
        world.listener.will(id, [if id == 3 { Action::Foreign } else { Action::Write }]);
    }
    for id in 5..10 {
        world.oracle.say(id, [if id == 7 { Reply::Foreign } else { Reply::Confirm }]);
    }
    join_all((0..5).map(|id| world.handle(messenger, id))).await;
    join_all((5..10).map(|id| world.vanish(messenger, id))).await;
    world.count(messenger, MessageState::Delivered, 8).await;
    for (state, part) in
        [(MessageState::Parked, "? the oracle is asleep ?"), (MessageState::Dead, "? no ink ?")]
    {
        world.count(messenger, state, 1).await;
        let message = messenger.admin().list(state, None, 2).await.expect("lists").remove(0);
        let reason = message.reason.expect("a reason");
        assert!(reason.contains(part), "{reason}");
        assert_eq!(message.attempts, 3, "{state}");
    }
    assert_eq!((world.listener.heard_of(3).len(), world.oracle.asked(7).len()), (3, 3));
}
