//! A node of RabbitMQ is cut off from the others and from its clients: packets vanish, and nobody hears that. `tests/matrix`
//! runs this, in a network namespace of its own, whose rules nobody else feels.

#[path = "../cluster/shop.rs"]
mod shop;

use std::process::Command;

use shop::Shop;

/// Runs `nft`.
fn nft(arguments: &str) {
    let done = Command::new("nft").args(arguments.split(' ')).status();
    let done = done.unwrap_or_else(|error| panic!("nft: {error}; apt-get install nftables"));
    assert!(done.success(), "nft {arguments}: {done}; in a network namespace of one's own this needs root");
}

/// Drops whatever comes from there or goes there, until it is dropped.
struct Cut;

impl Cut {
    fn off(address: &str) -> Self {
        nft("add table inet cut");
        for (chain, direction) in [("to", "daddr"), ("from", "saddr")] {
            nft(&format!("add chain inet cut {chain} {{ type filter hook input priority 0 ; }}"));
            nft(&format!("add rule inet cut {chain} ip {direction} {address} drop"));
        }
        Self
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        nft("delete table inet cut");
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_left_and_comes_back() {
    let shop = Shop::start().await;
    shop.under_load(async |_| {
        for round in 1..=2 {
            shop.more_effects("quiet").await;
            let (leader, _) = shop.leader().await;
            let cut = Cut::off(&leader.host());
            shop.more_effects(&format!("the leader cut off, {round}")).await;
            drop(cut);
            shop.is_whole().await;
        }
        let (_, [follower, _]) = shop.leader().await;
        let cut = Cut::off(&follower.host());
        shop.more_effects("a follower cut off").await;
        drop(cut);
        shop.is_whole().await;
    })
    .await;
}
