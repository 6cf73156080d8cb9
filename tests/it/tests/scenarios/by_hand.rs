//! Tables that were made by hand, from the files in the folder `migrations`.

use std::path::Path;

use it::{Dialect, Place, run};

use crate::{Db, World};

/// What a person with the right to create tables is given: the scripts of a part, in their order.
fn scripts(part: &str) -> Vec<String> {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/migrations").join(Db::FOLDER);
    let script = |number| std::fs::read_to_string(migrations.join(format!("{part}_{number}.sql"))).ok();
    (1..).map_while(script).collect()
}

async fn run_all(pool: &sqlx::Pool<Db>, scripts: Vec<String>) {
    assert!(!scripts.is_empty(), "there is a first one");
    for script in scripts {
        run(pool, script).await.expect("runs");
    }
}

#[tokio::test]
async fn a_messenger_starts_on_them() {
    let world = World::new().await;
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        run_all(&world.place.pool(database, 1), scripts(part)).await;
    }
    let messenger = world.builder().consumer(world.consumer()).build().await.expect("builds");
    messenger.start().await.expect("starts without `migrate`");
    messenger.migrate().await.expect("finds nothing to do");
    world.pay(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

/// In one database, where all three keep their versions in one table.
#[tokio::test]
async fn in_one_database_too() {
    let world = World::new().await;
    let pool = world.place.pool("shop", 1);
    for part in ["inbox", "fence", "message"] {
        run_all(&pool, scripts(part)).await;
    }
    let messenger = world.builder_on("shop").build().await.expect("builds");
    messenger.start().await.expect("starts without `migrate`");
    world.pay(&messenger, 1).await.expect("ok");
    assert_eq!(world.orders().await, [1]);
}

/// With what is in them.
#[tokio::test]
async fn tables_of_an_earlier_version_are_named_and_brought_up_to_date() {
    let world = World::new().await;
    let first = |part| vec![scripts(part).swap_remove(0)];
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        run_all(&world.place.pool(database, 1), first(part)).await;
    }
    let known = format!("INSERT INTO tm_inbox VALUES ('books', {}, 1)", Db::id(uuid::Uuid::now_v7()));
    run(&world.books, known).await.expect("inserts");
    let messenger = world.builder().consumer(world.consumer()).build().await.expect("builds");
    let error = messenger.start().await.expect_err("too old").to_string();
    assert!(error.contains("at version 1") && error.contains("Messenger::migrate"), "{error}");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}
