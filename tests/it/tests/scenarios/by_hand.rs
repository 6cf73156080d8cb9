//! Tables that were made by hand, from the files in the folder `migrations`.

use std::path::Path;

use it::{Dialect, Place, run};
use sqlx::Pool;

use crate::{Db, World};

/// All versions of a part, in order: what an operator with the right to create tables is given.
pub(super) fn scripts(part: &str) -> Vec<String> {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/migrations").join(Db::FOLDER);
    let script =
        |version: u32| std::fs::read_to_string(migrations.join(format!("{part}_{version}.sql"))).ok();
    let scripts: Vec<_> = (1..).map_while(script).collect();
    assert!(!scripts.is_empty(), "no scripts of {part}");
    scripts
}

async fn run_scripts(pool: &Pool<Db>, part: &str, versions: usize) {
    for script in scripts(part).into_iter().take(versions) {
        run(pool, script).await.expect("runs");
    }
}

const ALL: usize = usize::MAX;

/// What an earlier version of this crate has left is updated, with what is in it.
#[tokio::test]
async fn tables_of_the_first_version_are_updated() {
    let world = World::new().await;
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        run_scripts(&world.place.pool(database, 1), part, 1).await;
    }
    let messenger = World::start(world.builder().consumer(world.consumer())).await;
    world.pay(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

#[tokio::test]
async fn a_messenger_starts_on_them() {
    let world = World::new().await;
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        run_scripts(&world.place.pool(database, 1), part, ALL).await;
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
        run_scripts(&pool, part, ALL).await;
    }
    let messenger = world.builder_on("shop").build().await.expect("builds");
    messenger.start().await.expect("starts without `migrate`");
    world.pay(&messenger, 1).await.expect("ok");
    assert_eq!(world.orders().await, [1]);
}
