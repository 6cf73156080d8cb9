//! The store, the business and the consumers in databases of different kinds.

use it::AnsweredBy;
use it::{
    MySqlDatabases, Order, Place, PostgresSchemas, Process, ShopError, SqliteFiles, World, fast, fenced,
    fenced_amendable, order, vanish,
};
use transactional_message::{Message, MessageState, Messenger, MessengerBuilder, begin};

/// A messenger whose store, fence and consumer are in different worlds.
fn builder<S: Place, F: Place, C: Place>(
    store: &World<S>,
    shop: &World<F>,
    books: &World<C>,
) -> MessengerBuilder {
    Messenger::builder(store.place.database("store"))
        .settings(fast())
        .data(shop.oracle.clone())
        .fence("orders", F::database_of(&shop.shop))
        .consumer(books.consumer())
}

/// Calls that end well, badly, and with their process.
async fn books_agree<S: Place, F: Place, C: Place>() {
    let (store, shop, books) = (World::<S>::new().await, World::<F>::new().await, World::<C>::new().await);
    let messenger = World::<S>::start(builder(&store, &shop, &books)).await;
    for id in 0..5 {
        shop.pay(&messenger, id).await.expect("ok");
        let declines = async {
            let mut tx = begin(&shop.shop).await?;
            it::write::<F::Db>(&mut tx, 10 + id).await?;
            Err::<(), _>(ShopError::Declined)
        };
        messenger.scope(async { fenced(&order(10 + id), declines).await }).await.expect_err("declined");
        let panics = async {
            begin(&shop.shop).await?.commit().await?;
            panic!("on purpose")
        };
        vanish(messenger.scope(async { fenced::<()>(&order(20 + id), panics).await })).await;
    }
    let (reached, mut wait) = tokio::sync::mpsc::channel(2);
    let (elsewhere, builder) = (shop.elsewhere(), builder(&store, &shop.elsewhere(), &books.elsewhere()));
    let process = Process::start(move || async move {
        let messenger = World::<S>::start(builder).await;
        let call = async |id: u64, commits: bool| {
            let body = async {
                if commits {
                    let mut tx = begin(&elsewhere.shop).await?;
                    it::write::<F::Db>(&mut tx, id).await?;
                    tx.amend(&Order { note: "amended".into(), ..order(id) })?;
                    tx.commit().await?;
                }
                reached.send(()).await.expect("waits");
                std::future::pending::<Result<(), ShopError>>().await
            };
            messenger.scope(async { fenced(&order(id), body).await }).await
        };
        let _ = tokio::join!(call(30, true), call(31, false));
    });
    for _ in 0..2 {
        wait.recv().await.expect("gets there");
    }
    process.kill().await;
    store.settled(&messenger).await;
    assert_eq!(shop.orders().await, (0..5).chain([30]).collect::<Vec<_>>());
    assert_eq!(books.effects_of_orders().await, (0..5).chain(20..25).chain([30]).collect::<Vec<_>>());
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 6);
}

#[tokio::test]
async fn store_in_postgres_business_in_mysql_books_in_sqlite() {
    books_agree::<PostgresSchemas, MySqlDatabases, SqliteFiles>().await;
}

#[tokio::test]
async fn store_in_mysql_business_in_sqlite_books_in_postgres() {
    books_agree::<MySqlDatabases, SqliteFiles, PostgresSchemas>().await;
}

#[tokio::test]
async fn store_in_sqlite_business_in_postgres_books_in_mysql() {
    books_agree::<SqliteFiles, PostgresSchemas, MySqlDatabases>().await;
}

#[tokio::test]
async fn one_messenger_with_a_fence_of_each_kind() {
    let one = World::<SqliteFiles>::new().await;
    let (two, three) = (World::<PostgresSchemas>::new().await, World::<MySqlDatabases>::new().await);
    let builder = one.builder().fence("two", &two.shop).fence("three", &three.shop).consumer(one.consumer());
    let messenger = World::<SqliteFiles>::start(builder).await;
    let body = async {
        let mut tx = begin(&one.shop).await?;
        it::write::<sqlx::Sqlite>(&mut tx, 1).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced_amendable(&order(1), body).await }).await.expect("committed");
    let message = |id| [Message::json("shop", "order", &order(id)).expect("encodes")];
    let body = async {
        let mut tx = begin(&two.shop).await?;
        it::write::<sqlx::Postgres>(&mut tx, 2).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger
        .call(it::call(AnsweredBy::NamedFence("two".into()), message(2)), body)
        .await
        .expect("committed");
    let body = async {
        let mut tx = begin(&three.shop).await?;
        it::write::<sqlx::MySql>(&mut tx, 3).await?;
        Err::<(), _>(ShopError::Declined)
    };
    messenger
        .call(it::call(AnsweredBy::NamedFence("three".into()), message(3)), body)
        .await
        .expect_err("declined");
    one.settled(&messenger).await;
    assert_eq!((one.fences(1).await, two.fences(1).await, three.fences(2).await), (1, 1, 1));
    assert_eq!(one.effects_of_orders().await, [1, 2]);
    assert_eq!(messenger.stats().await.expect("counts").count(MessageState::Cancelled), 1);
}
