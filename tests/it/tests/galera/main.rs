//! A Galera cluster of three MariaDB nodes: `tests/matrix` runs this where there is one. The store is found by a URL with
//! all nodes; the pools of the application lead through an address that moves to a living node.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

use std::time::{Duration, Instant};

use it::{Fragile, MySqlDatabases, Place, Proxy, World, books_agree, fast, under_load};
use transactional_message::Messenger;
use url::Url;

const CALLERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);
const CALLS: u64 = 50;

#[tokio::test]
async fn a_node_that_dies_is_left_and_comes_back() {
    let nodes = services::mariadb::start_galera().await.expect("a cluster");
    let places: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let address = Proxy::new(&places[0], true).await.expect("a port");
    let mut url: Url = nodes[0].url().parse().expect("a URL");
    url.set_port(Some(address.address().port())).expect("a port");
    let world = World::at(MySqlDatabases::on(url.as_str()), u32::try_from(CALLERS).expect("small")).await;
    let store = world.place.url("store").replace(&address.address().to_string(), &places.join(","));
    let builder = Messenger::builder(store)
        .settings(fast())
        .data(world.oracle.clone())
        .fence("orders", MySqlDatabases::database_of(&world.shop));
    let messenger = World::<MySqlDatabases>::start(builder.consumer(world.consumer())).await;
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        for (dies, lives) in [(1, 0), (0, 2)] {
            nodes[dies].kill().expect("killed");
            address.lead_to(&places[lives]);
            let died = Instant::now();
            load.more(CALLS).await;
            eprintln!("node {dies} died: {CALLS} more calls succeeded after {:.2?}", died.elapsed());
            if dies != 0 {
                nodes[dies].start_again().await.expect("starts again");
                load.more(CALLS).await;
            }
        }
    })
    .await;
    books_agree(&world, &messenger, done).await;
}
