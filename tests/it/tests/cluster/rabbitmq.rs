//! Nodes of RabbitMQ die, or stand still: nothing is lost, and messages flow again soon after.

use crate::shop::Shop;

async fn each_node_in_turn(shop: &Shop) {
    shop.more_effects("all nodes there").await;
    shop.is_whole().await;
    for round in ["first", "second"] {
        shop.more_effects("quiet").await;
        let (leader, _) = shop.leader().await;
        leader.kill().expect("killed");
        shop.more_effects(&format!("the {round} leader of the queue killed")).await;
        leader.start_again().await.expect("starts again");
        shop.is_whole().await;
    }
    let (_, [follower, _]) = shop.leader().await;
    follower.kill().expect("killed");
    shop.more_effects("a follower killed").await;
    follower.start_again().await.expect("starts again");
    shop.is_whole().await;
}

#[tokio::test]
async fn whatever_happens_to_nodes_nothing_is_lost_and_messages_flow() {
    let shop = Shop::start().await;
    shop.under_load(async |load| {
        each_node_in_turn(&shop).await;

        let [one, two, _] = shop.cluster.nodes() else { panic!("three nodes") };
        one.kill().expect("killed");
        two.kill().expect("killed");
        // Some were on their way when they died: more calls than have effects, and then no effect more.
        load.more(100).await;
        let before = shop.effects().await;
        load.more(100).await;
        assert_eq!(shop.effects().await, before, "no majority, no progress");
        one.start_again().await.expect("starts again");
        two.start_again().await.expect("starts again");
        shop.more_effects("two of three killed, and started again").await;
        shop.is_whole().await;

        let (leader, _) = shop.leader().await;
        leader.pause().expect("paused");
        shop.more_effects("the leader stands still").await;
        leader.resume().expect("goes on");
        shop.more_effects("the former leader goes on").await;
    })
    .await;
}
