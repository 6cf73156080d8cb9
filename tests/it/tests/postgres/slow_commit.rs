//! A commit that takes longer than anybody waits.

use std::time::Duration;

use it::run;
use transactional_message::{Action, ErrorKind, MessageId, Order};
use uuid::Uuid;

use crate::World;

/// It may have been committed all the same: whoever ordered it is told how to look for it.
#[tokio::test]
async fn an_order_without_an_answer_is_named() {
    let world = World::new().await;
    let messenger = world.builder().build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON tm_operation DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION slow()";
    run(&world.store(), slow).await.expect("creates");
    let order = Order::new(Action::Retry, vec![MessageId::from_uuid(Uuid::now_v7())], "x");
    let order = order.begins_in(Duration::from_hours(1));
    let error = messenger.admin().order(&order).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("did not confirm the operation"), "{text}");
    assert!(text.split([' ', ',']).any(|word| word.parse::<Uuid>().is_ok()), "{text}");
}
