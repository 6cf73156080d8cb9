//! Tables that are called otherwise than by default.

use std::time::Duration;

use it::{
    Action, Dialect, Place, ShopError, fast, fenced, fenced_amendable, number, order, run, says, texts,
    wait_until,
};
use transactional_message::testing::exercise;
use transactional_message::{
    Call, Consumer, DatabaseSource, ErrorKind, MessageState, Messenger, MessengerBuilder, begin, send,
    send_all, withhold,
};

use crate::scenarios::decided::sold;
use crate::scenarios::fence_enter::pay_in;
use crate::{Db, Place as Databases, World};

const PREFIX: &str = "shop_2_";

fn prefixed(database: DatabaseSource) -> DatabaseSource {
    database.table_prefix(PREFIX)
}

fn builder(world: &World) -> MessengerBuilder {
    let settings = fast().retention(Duration::from_secs(10)).janitor_interval(Duration::from_millis(20));
    let settings = settings.check_back_horizon(Duration::from_secs(9));
    Messenger::builder(prefixed(world.place.database("store")))
        .settings(settings)
        .data(world.oracle.clone())
        .fence("orders", prefixed(Databases::database_of(&world.shop)))
}

fn consumer(world: &World) -> Consumer {
    world.consumer().table_prefix(PREFIX)
}

/// The tables and routines whose names begin like this.
async fn ours(world: &World, prefix: &str) -> Vec<String> {
    let here = if Db::FOLDER == "mysql" { "DATABASE()" } else { "current_schema()" };
    let begins = |name: &str| format!("left({name}, {}) = '{prefix}'", prefix.len());
    let sql = format!(
        "SELECT concat('', table_name) FROM information_schema.tables WHERE table_schema = {here} AND {} UNION \
         SELECT concat('', routine_name) FROM information_schema.routines WHERE routine_schema = {here} AND {}",
        begins("table_name"),
        begins("routine_name")
    );
    let mut names = Vec::new();
    for pool in [&world.shop, &world.books, &world.store()] {
        names.extend(texts(pool, sql.clone()).await);
    }
    names
}

#[tokio::test]
async fn a_store_whose_tables_are_called_otherwise_conforms() {
    let world = World::new().await;
    exercise(prefixed(world.place.database("store"))).await;
    exercise(prefixed(world.place.database("shop"))).await;
}

/// Everything that a call and a consumer can do, by tables of other names, which are all that there is.
#[tokio::test]
async fn tables_may_be_called_otherwise() {
    let world = World::new().await;
    let messenger = World::start(builder(&world).consumer(consumer(&world))).await;
    // Committed, declined, vanished.
    world.pay(&messenger, 1).await.expect("pays");
    world.commit_and_decline(&messenger, 2).await;
    world.vanish(&messenger, 3).await;
    // With another payload than at first; nothing to send after all.
    let amends = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 4).await?;
        tx.amend(&order(4))?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { fenced_amendable(&order(0), amends).await }).await.expect("commits");
    let withholds = async {
        let tx = begin(&world.shop).await?;
        withhold()?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(0), withholds).await }).await.expect("commits");
    // Decided in the body, one and many; and in the caller's transaction.
    let decides = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 5).await?;
        send(sold(5)).await?;
        send_all((6..40).map(sold)).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.call(Call::new("decides").fence(), decides).await.expect("commits");
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 40, false)).await.expect("pays");
    tx.commit().await.expect("commits");
    // Failed at first, and asked by a handler.
    world.listener.will(41, [Action::Fail, Action::Write]);
    world.handle(&messenger, 41).await.expect("handles");
    world.settled(&messenger).await;
    let expected: Vec<u64> = [1, 2, 4].into_iter().chain(5..42).collect();
    assert_eq!(world.effects_of_orders().await, expected);

    world.shop_is_clean().await;
    assert_eq!(ours(&world, "tm_").await, [""; 0], "none has the default name");
    assert!(ours(&world, PREFIX).await.len() >= 8);
    let old = format!("INSERT INTO {PREFIX}inbox VALUES ('books', {}, 1)", Db::id(uuid::Uuid::nil()));
    run(&world.books, old).await.expect("inserts");
    let inbox = format!("SELECT count(*) FROM {PREFIX}inbox WHERE received_at = 1");
    wait_until("what is old to be pruned", async || number(&world.books, inbox.as_str()).await == 0).await;
    world.count(&messenger, MessageState::Delivered, 0).await;
    assert!(messenger.admin().list(MessageState::Delivered, None, 1).await.expect("lists").is_empty());
}

#[tokio::test]
async fn two_of_each_live_in_one_database() {
    let world = World::new().await;
    let theirs = world.messenger().await;
    let ours = World::start(builder(&world).consumer(consumer(&world))).await;
    world.pay(&ours, 1).await.expect("pays");
    world.settled(&ours).await;
    assert_eq!(theirs.stats().await.expect("counts").delivered, 0);
    assert_eq!((world.fences(1).await, world.listener.orders()), (0, vec![1]));
}

#[tokio::test]
async fn what_can_be_no_name_is_refused() {
    let world = World::new().await;
    let source = world.place.database("store").table_prefix("Shop-");
    let refused = Messenger::builder(source).data(world.oracle.clone()).build().await.expect_err("refused");
    says(&refused, ErrorKind::Configuration, &["`table_prefix` is `Shop-`", "as in `shop_tm_`"]);
    let consumer = world.consumer().table_prefix("x; --");
    let refused = world.builder().consumer(consumer).build().await.expect_err("refused");
    says(&refused, ErrorKind::Configuration, &["the consumer `books`", "`table_prefix` is `x; --`"]);
}
