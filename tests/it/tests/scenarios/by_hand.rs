//! Tables that were made by hand, from the files in the folder `migrations`.

use std::path::Path;

use it::{Dialect, Place, run};

use crate::{Db, World};

/// What a person with the right to create tables is given: one file a version.
pub(super) fn scripts(part: &str) -> Vec<String> {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/migrations").join(Db::FOLDER);
    let file = |version: u32| std::fs::read_to_string(migrations.join(format!("{part}_{version}.sql"))).ok();
    (1..).map_while(file).collect()
}

#[tokio::test]
async fn a_messenger_starts_on_them() {
    let world = World::new().await;
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        for script in scripts(part) {
            run(&world.place.pool(database, 1), script).await.expect("runs");
        }
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
        for script in scripts(part) {
            run(&pool, script).await.expect("runs");
        }
    }
    let messenger = world.builder_on("shop").build().await.expect("builds");
    messenger.start().await.expect("starts without `migrate`");
    world.pay(&messenger, 1).await.expect("ok");
    assert_eq!(world.orders().await, [1]);
}
