//! An operator who may not ask for a queue's delivery limit, on a RabbitMQ that may drop what is looked at.

use it::{Place, Rabbit, SqliteFiles, World};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::run::Tm;

/// The way to a broker, on which it says that it is RabbitMQ 4.0, whatever it is. Gives the address.
async fn as_version_4(broker: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let here = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&broker).await.expect("connects");
            tokio::spawn(pass(client, server));
        }
    });
    here
}

async fn pass(client: TcpStream, server: TcpStream) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move {
        let _ = copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    });
    // The first frame says who it is.
    let mut start = vec![0; 64 * 1024];
    let Ok(length) = from_server.read(&mut start).await else { return };
    start.truncate(length);
    rename(&mut start);
    if to_client.write_all(&start).await.is_ok() {
        let _ = copy(&mut from_server, &mut to_client).await;
    }
    let _ = to_client.shutdown().await;
}

fn rename(start: &mut [u8]) {
    const NAME: &[u8] = b"\x07versionS";
    let at = start.windows(NAME.len()).position(|part| part == NAME).expect("a version") + NAME.len() + 4;
    let length = usize::from(start[at - 1]);
    for (place, byte) in start[at..at + length].iter_mut().zip(b"4.0.0".iter().chain([b'0'; 250].iter())) {
        *place = *byte;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_out_often_is_left_alone_where_the_limit_is_not_seen() {
    let broker = services::rabbitmq::start().await.expect("RabbitMQ starts");
    let rabbit = Rabbit::at(broker.url()).await;
    let (queue, world) = (rabbit.queue("books"), World::<SqliteFiles>::new().await);
    let dead = format!("{queue}.dead");
    let quorum = [("x-queue-type", AMQPValue::LongString("quorum".into()))];
    rabbit.declare(&dead, &quorum).await.expect("declares");
    for _ in 0..2 {
        rabbit.publish_to(&dead, b"{}", BasicProperties::default().with_delivery_mode(2)).await;
    }
    rabbit.has(&dead, 2).await;
    broker.ctl(["add_user", "ana", "s3cret"]).await.expect("adds");
    broker.ctl(["set_permissions", "ana", "^$", r"^amq\.default$", r"\.dead$"]).await.expect("sets");
    let url = broker.url().replace("tm:test-secret", "ana:s3cret");
    let place = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a host").to_owned();
    let url = url.replace(&place, &as_version_4(place.clone()).await);
    let store = world.place.url("store");
    let tm = Tm::default().with(&["--database-url", &store, "--amqp-url", &url]);
    tm.run(&["migrate", "--yes"]).ends_with(0);

    let looks = (0..15).map(|_| tm.run(&["dead", "show", &queue])).take_while(|ran| ran.code == 0).count();
    if looks == 15 {
        // RabbitMQ 4.3 and later don't count it.
        return;
    }
    let refused = tm.run(&["dead", "show", &queue]).ends_with(4);
    for expected in ["handed out 1", "RabbitMQ 4.0.0", "which this user can't see", "--despite-limit"] {
        assert!(refused.err.contains(expected), "{expected}: {}", refused.err);
    }
    let list = tm.run(&["dead", "list", &queue]).ends_with(3);
    assert!(list.out.contains("  2"), "{}", list.out);
    for verb in ["redrive", "discard"] {
        let arguments = ["dead", verb, &queue, "--yes", "--reason", "x"];
        let all: &[&str] = if verb == "discard" { &["--all"] } else { &[] };
        let ran = tm.run(&[&arguments[..], all].concat());
        assert!([1, 4].contains(&ran.code) && ran.err.contains("handed out 1"), "{verb}: {}", ran.err);
    }
    tm.run(&["dead", "show", &queue, "--despite-limit"]).ends_with(0);
    rabbit.has(&dead, 2).await;
}
