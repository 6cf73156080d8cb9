//! A body that is dropped in the middle of a statement: sqlx's MySQL driver does not know then what the connection has
//! still to answer.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use it::{Dialect, ShopError, fenced, order};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection};
use tokio::time::timeout;
use transactional_message::{Consume, Consumer, MessageState, RawPayload, Received, begin};

use crate::World;

/// Statements that are cut. A fast server's answer can be there at once: then nothing is, and another one is tried.
const CUT: u64 = 10;
const TRIES: u64 = 50;
/// A bound on a machine that cuts nothing.
const MOST: u64 = 5_000;
const ANSWER: i64 = 42;

/// Its connection is lent, so that nothing was changed about the session.
#[tokio::test]
async fn its_connection_gives_nobody_another_statements_answer() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let mut cut = 0;
    for id in 0..MOST {
        if cut >= CUT {
            break;
        }
        let body = async {
            let mut connection = world.shop.acquire().await?;
            let mut tx = begin(&mut connection).await?;
            // Another one each time, so that it has to be prepared.
            let text = AssertSqlSafe(format!("SELECT id + {id} FROM orders WHERE id = ? OR id = ?"));
            let unprepared = sqlx::query(text).bind(1).bind(2).fetch_all(&mut *tx);
            cut += u64::from(unprepared.now_or_never().is_none());
            Err::<(), _>(ShopError::Declined)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await.expect_err("declined");
        for _ in 0..3 {
            let ask = sqlx::query_scalar::<_, i64>("SELECT ?").bind(ANSWER).fetch_one(&world.shop);
            let answer = timeout(Duration::from_secs(20), ask).await.expect("in time").expect("an answer");
            assert_eq!(answer, ANSWER, "after {cut} cut statements");
        }
    }
    assert!(cut >= CUT, "only {cut} of {MOST} statements were cut");
    world.settled(&messenger).await;
}

/// Gives a statement up of its own accord, and fails; the second time it writes.
#[derive(Clone)]
struct Impatient;

impl<'c> Consume<'c, MySqlConnection, RawPayload> for Impatient {
    type Error = String;
    type Future = BoxFuture<'c, Result<(), String>>;

    fn consume(&self, connection: &'c mut MySqlConnection, message: Received<RawPayload>) -> Self::Future {
        Box::pin(async move {
            if message.attempt > 1 {
                let written = MySql::effect(connection, "books", message.id, "{}").await;
                return written.map_err(|error| error.to_string());
            }
            // With so many parameters, the answer to its preparation looks like rows that never end.
            let text = AssertSqlSafe(format!("SELECT ? + ? + ? + ? + ? AS `{}`", message.id));
            let _ =
                sqlx::query(text).bind(1).bind(2).bind(3).bind(4).bind(5).execute(connection).now_or_never();
            Err("impatient".into())
        })
    }
}

/// The rollback may wait for an answer that never comes: it is not waited for.
#[tokio::test]
async fn a_handler_that_gives_one_up_and_fails_is_asked_again() {
    let world = World::new().await;
    let consumer = Consumer::new("books", world.books.clone(), Impatient).bind("shop", "#").max_attempts(5);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    for id in 0..TRIES {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.count(&messenger, MessageState::Delivered, TRIES).await;
    assert_eq!(world.all_effects().await, i64::try_from(TRIES).expect("small"));
}
