//! A primary and its standby, on any database. The store is found by a URL with both; the pools of the application lead
//! through an address that moves with the primary, as they do behind a load balancer.

use std::time::{Duration, Instant};

use futures_util::future::join3;
use it::{
    Fragile, Proxy, Reply, World, books_agree, fast, fenced, handled, number, order, under_load, vanish,
    wait_until,
};
use services::Server;
use tokio::sync::oneshot;
use transactional_message::{MessageState, Messenger, begin};
use url::Url;

const CALLERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);
/// Enough that everybody is in the midst of something.
const CALLS: u64 = 50;
/// That of `fast`.
const LEASE: Duration = Duration::from_secs(1);

/// A database whose server may have a standby.
pub(crate) trait Replicated: Fragile {
    /// Starts a server that may become a primary.
    async fn primary(synchronous: bool) -> Server;

    /// Starts a standby of the primary, which it reaches by this URL. Returns when it follows. If they are `synchronous`,
    /// the primary finishes no commit from now on that the standby hasn't got.
    async fn standby(primary: &Server, by: &Url, synchronous: bool) -> Server;

    /// Makes it the primary, with all that it has got.
    async fn promote(standby: &Server);
}

struct Pair {
    primary: Server,
    standby: Server,
    /// Between the two.
    replication: Proxy,
    /// Where the application finds the primary.
    address: Proxy,
}

impl Pair {
    async fn start<P: Replicated>(synchronous: bool) -> Self {
        let primary = P::primary(synchronous).await;
        let target = place(primary.port());
        let replication = Proxy::new(&target, true).await.expect("a port");
        let standby = P::standby(&primary, &by(&primary, &replication), synchronous).await;
        let address = Proxy::new(&target, true).await.expect("a port");
        Self { primary, standby, replication, address }
    }

    /// With the consumers' database on another server.
    async fn world<P: Replicated>(&self) -> World<P> {
        let (connections, url) = (u32::try_from(CALLERS).expect("small"), by(&self.primary, &self.address));
        let mut world = World::at(P::on(url.as_str()), connections).await;
        world.books = World::<P>::new().await.books;
        world
    }

    /// A messenger that is told of both servers, the standby first.
    async fn messenger<P: Replicated>(&self, world: &World<P>) -> Messenger {
        let places = format!("{},{}", place(self.standby.port()), place(self.primary.port()));
        let store = world.place.url("store").replace(&place(self.address.address().port()), &places);
        let builder = Messenger::builder(store)
            .settings(fast())
            .data(world.oracle.clone())
            .fence("orders", P::database_of(&world.shop));
        World::<P>::start(builder.consumer(world.consumer())).await
    }

    async fn fail_over<P: Replicated>(&self) {
        P::promote(&self.standby).await;
        self.address.lead_to(&place(self.standby.port()));
    }
}

fn place(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A server's URL, by a proxy.
fn by(server: &Server, proxy: &Proxy) -> Url {
    let mut url: Url = server.url().parse().expect("a URL");
    url.set_port(Some(proxy.address().port())).expect("a port");
    url
}

/// The primary dies: nothing is lost that its synchronous standby has.
pub(crate) async fn dies<P: Replicated>() {
    fails_over::<P>("died", |pair| pair.primary.kill().expect("killed")).await;
}

/// The primary is cut off from its standby: it takes connections and statements, and finishes no commit. It is left.
pub(crate) async fn is_cut_off<P: Replicated>() {
    fails_over::<P>("was cut off", |pair| pair.replication.silence(true)).await;
}

/// Something happens to the primary, and its synchronous standby takes over, all under load.
async fn fails_over<P: Replicated>(what: &str, harm: impl FnOnce(&Pair)) {
    let pair = Pair::start::<P>(true).await;
    let world = pair.world::<P>().await;
    let messenger = pair.messenger(&world).await;
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        harm(&pair);
        let began = Instant::now();
        pair.fail_over::<P>().await;
        let promoted = began.elapsed();
        load.more(1).await;
        eprintln!(
            "the primary {what}, a new one was there after {promoted:.2?}: the next call succeeded after {:.2?}",
            began.elapsed()
        );
        load.more(CALLS).await;
    })
    .await;
    books_agree(&world, &messenger, done).await;
}

/// The half is on the asynchronous standby that takes over, and its payment is not. The process knows of the commit, and sends
/// nothing all the same.
pub(crate) async fn loses_the_payment_alone<P: Replicated>() {
    let pair = Pair::start::<P>(false).await;
    let world = pair.world::<P>().await;
    let messenger = pair.messenger(&world).await;
    let standby = world.place.with_server(pair.standby.url().parse().expect("a URL")).pool("store", 1);
    world.oracle.say(2, [Reply::Cancel]);
    let (go, cut) = oneshot::channel();
    let (leave, leaves) = oneshot::channel();
    let body = async {
        cut.await.expect("is cut");
        let mut tx = begin(&world.shop).await?;
        World::<P>::write(&mut tx, 1).await?;
        tx.commit().await?;
        pair.primary.kill().expect("killed");
        leave.send(()).expect("waited for");
        Ok(())
    };
    let cutting = async {
        wait_until("the standby to have the halves", async || {
            number(&standby, "SELECT count(*) FROM tm_message WHERE state = 0").await == 2
        })
        .await;
        pair.replication.silence(true);
        go.send(()).expect("waited for");
    };
    // Its report goes to the store together with the other one, and before it: the new primary will have it.
    let neighbour = async {
        leaves.await.expect("told");
        panic!("on purpose")
    };
    let (order, other) = (order(1), order(2));
    let call = messenger.scope(async { fenced(&order, body).await });
    let vanishing = vanish(messenger.scope(async { handled::<()>(&other, neighbour).await }));
    // In this order, whoever is woken: both reports are there when the reporter looks.
    let (ended, (), ()) = join3(call, vanishing, cutting).await;
    ended.expect("it is committed");
    pair.replication.cut();
    pair.fail_over::<P>().await;
    world.count(&messenger, MessageState::Cancelled, 2).await;
    assert_eq!(world.orders().await, Vec::<u64>::new(), "the payment is gone");
    assert_eq!(world.all_effects().await, 0);
}

/// An asynchronous standby takes over. What the database loses is lost. But nothing is sent any more for a payment that is
/// gone: its half is gone with it, or its fence says that there was no payment.
pub(crate) async fn loses<P: Replicated>() {
    let pair = Pair::start::<P>(false).await;
    let world = pair.world::<P>().await;
    let messenger = pair.messenger(&world).await;
    let mut before = Vec::new();
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        // The standby hears nothing any more. What happens now will be lost.
        pair.replication.silence(true);
        load.more(CALLS).await;
        pair.primary.kill().expect("killed");
        // Pacing: what is in memory may be delivered until its lease has lapsed, which nobody outside can see. No condition can
        // be waited for; the time that is promised has to pass.
        tokio::time::sleep(2 * LEASE).await;
        before = world.effects_of_orders().await;
        pair.replication.cut();
        pair.fail_over::<P>().await;
        load.more(CALLS).await;
    })
    .await;
    world.settled(&messenger).await;
    let orders = world.orders().await;
    wait_until("the effect of each order", async || {
        let effects = world.effects_of_orders().await;
        orders.iter().all(|id| effects.binary_search(id).is_ok())
    })
    .await;
    let effects = world.effects_of_orders().await;
    assert!(effects.windows(2).all(|two| two[0] != two[1]), "each once: {effects:?}");
    let lost: Vec<_> = effects.iter().filter(|id| orders.binary_search(id).is_err()).collect();
    eprintln!(
        "{done} calls succeeded; the orders of {} were lost after their message was delivered",
        lost.len()
    );
    assert!(!lost.is_empty(), "the test is about what was sent and then lost");
    assert!(
        lost.iter().all(|id| before.contains(id)),
        "sent after it was lost: {lost:?}, before: {before:?}"
    );
}
