//! While no message is half or confirmed, the store is not written to: who decodes its log hears nothing.
//!
//! A schema can have functions of its own instead of the server's, which are found first if the search path says
//! so: these count.

use it::{Place as _, fast, handled, number, order, run, wait_until};
use transactional_message::Messenger;

use crate::World;

/// Rounds after which it would have been seen.
const ROUNDS: i64 = 30;

async fn counted(world: &World, what: &str) -> i64 {
    number(&world.store(), format!("SELECT last_value FROM {what}")).await
}

/// Waits until the store was asked some times more.
async fn rounds(world: &World) {
    let before = counted(world, "asked").await;
    wait_until("the store to be asked", async || counted(world, "asked").await >= before + ROUNDS).await;
}

#[tokio::test]
async fn an_idle_store_is_only_read() {
    let world = World::new().await;
    let counters = "CREATE SEQUENCE asked; CREATE SEQUENCE written;
        CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT pg_catalog.clock_timestamp() + nextval(''asked'') * interval ''0''';
        CREATE FUNCTION pg_logical_emit_message(boolean, text, text) RETURNS pg_lsn LANGUAGE sql VOLATILE AS
        'SELECT pg_catalog.pg_logical_emit_message($1, $2, $3) WHERE nextval(''written'') > 0';";
    run(&world.store(), counters).await.expect("makes them");
    let schema = world.place.schema("store");
    let url = world.place.url("store").replace(&schema, &format!("{schema},pg_catalog"));
    let settings = fast().deliver(false);
    let builder = Messenger::builder(url).settings(settings).data(world.oracle.clone());
    let messenger = World::start(builder).await;
    rounds(&world).await;
    let written = counted(&world, "written").await;
    rounds(&world).await;
    assert_eq!(counted(&world, "written").await, written, "an idle store was written to");
    // While there is a half message, its row is renewed, or else it is written that it could be.
    let (over, wait) = tokio::sync::oneshot::channel();
    let body = async {
        wait.await.expect("ends");
        Ok(())
    };
    let conduct = async {
        let more = async || counted(&world, "written").await > written;
        wait_until("the store to be written to", more).await;
        over.send(()).expect("waited for");
    };
    let (ended, ()) = tokio::join!(messenger.scope(async { handled::<()>(&order(1), body).await }), conduct);
    ended.expect("ok");
}
