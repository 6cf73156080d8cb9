//! Passwords that change while a messenger runs.

use std::sync::{Arc, Mutex};

use it::{Log, Place, Remote, fast, wait_until};
use sqlx::{Connection, Pool};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{DatabaseSource, Messenger};
use url::Url;

use crate::{Db, World};

const NEW: &str = "another-s3cr3t";

/// The tables, and the clerk who will work on them.
async fn clerk(world: &World) -> World {
    let owner = world.builder().consumer(world.consumer()).build().await.expect("builds");
    owner.migrate().await.expect("migrates");
    World { place: world.place.as_clerk().await, ..world.elsewhere() }.elsewhere()
}

/// As an application does that got another password.
fn follow(pool: &Pool<Db>) {
    pool.set_connect_options(pool.connect_options().as_ref().clone().password(NEW));
}

/// All sessions end, and the old password works no more.
async fn rotate(world: &World, clerk: &World) {
    world.place.change_password(NEW).await;
    let old = clerk.place.pool("shop", 1).connect_options();
    <Db as sqlx::Database>::Connection::connect_with(&old).await.expect_err("the old password");
    world.place.cut().await;
}

async fn works(clerk: &World, messenger: &Messenger, ids: [u64; 3]) {
    for id in ids {
        clerk.pay(messenger, id).await.expect("ok");
    }
    clerk.settled(messenger).await;
}

fn from_pools(clerk: &World, store: &Pool<Db>) -> transactional_message::MessengerBuilder {
    Messenger::builder(store)
        .settings(fast())
        .data(clerk.oracle.clone())
        .fence("orders", &clerk.shop)
        .consumer(clerk.consumer())
}

#[tokio::test]
async fn a_pools_new_password_is_followed_and_a_refusal_is_logged_once() {
    let (log, _guard) = Log::listen(LevelFilter::INFO);
    let world = World::new().await;
    let clerk = clerk(&world).await;
    let store = clerk.place.pool("store", 1);
    let messenger = from_pools(&clerk, &store).build().await.expect("builds");
    messenger.start().await.expect("starts");
    works(&clerk, &messenger, [1, 2, 3]).await;
    rotate(&world, &clerk).await;
    // Nobody has told the pools yet.
    for _ in 0..3 {
        clerk.pay(&messenger, 4).await.expect_err("the password is refused");
    }
    let refused = |database: &str| {
        let lines = log.lines_with(&["password refused since now"]);
        let remedy = "call `set_connect_options`";
        lines.iter().filter(|line| line.contains(database) && line.contains(remedy)).count()
    };
    assert_eq!(refused("database=\"message store\""), 1, "{:?}", log.lines_with(&["password"]));
    for pool in [&clerk.shop, &clerk.books, &store] {
        follow(pool);
    }
    works(&clerk, &messenger, [5, 6, 7]).await;
    // So that the fence is asked, too.
    clerk.commit_and_decline(&messenger, 8).await;
    clerk.settled(&messenger).await;
    let back = || log.lines_with(&["password accepted again"]).len();
    wait_until("the recovery", async || {
        back() == refused("database=\"message store\"") + refused("database=\"fence\"")
    })
    .await;
    assert!((1..=2).contains(&back()), "once each: {:?}", log.lines_with(&["password"]));
    assert_eq!(world.effects_of_orders().await, [1, 2, 3, 5, 6, 7, 8]);
    assert_eq!(log.lines_with(&[NEW]), [] as [String; 0]);
}

#[tokio::test]
async fn a_provider_is_asked_for_the_url_at_each_connection() {
    let world = World::new().await;
    let clerk = clerk(&world).await;
    let source = |name: &str| {
        let url: Url = clerk.place.url(name).parse().expect("a URL");
        let password = Arc::new(Mutex::new(url.password().expect("a password").to_owned()));
        let secret = Arc::clone(&password);
        let source = DatabaseSource::from_provider(move || {
            let password = secret.lock().expect("sole").clone();
            let mut url = url.clone();
            url.set_password(Some(&password)).expect("a password");
            std::future::ready(Ok::<_, std::io::Error>(url.to_string()))
        });
        (source, password)
    };
    let ((store, first), (shop, second)) = (source("store"), source("shop"));
    assert_eq!(format!("{store:?}"), "DatabaseSource(provider)");
    let builder = Messenger::builder(store).settings(fast()).data(clerk.oracle.clone());
    let messenger = builder.fence("orders", shop).consumer(clerk.consumer()).build().await.expect("builds");
    messenger.start().await.expect("starts");
    works(&clerk, &messenger, [1, 2, 3]).await;
    for password in [first, second] {
        *password.lock().expect("sole") = NEW.into();
    }
    follow(&clerk.shop);
    follow(&clerk.books);
    rotate(&world, &clerk).await;
    works(&clerk, &messenger, [5, 6, 7]).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3, 5, 6, 7]);
}
