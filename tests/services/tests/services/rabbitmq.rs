//! RabbitMQ.

use std::fs;

use services::rabbitmq::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{client, listens, stands_still_and_goes_on, stops};

/// What AMQP 0-9-1 clients begin with.
const GREETING: &[u8] = b"AMQP\0\0\x09\x01";
/// A method, on channel 0: the type of the server's first frame, `connection.start`.
const METHOD: [u8; 3] = [1, 0, 0];
const DEFINITIONS: &str =
    r#"{"queues": [{"name": "kept", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}}]}"#;

/// The beginning of the server's answer to a client.
async fn greet(server: &Server) -> [u8; 3] {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.expect("connects");
    stream.write_all(GREETING).await.expect("writes");
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await.expect("an answer");
    answer
}

async fn alarms(server: &Server) -> String {
    server.ctl(["eval", "rabbit_alarm:get_alarms()."]).await.expect("evaluates").trim().to_owned()
}

#[tokio::test]
async fn rabbitmq_comes_back_with_its_data() {
    let victim = services::rabbitmq::start().await.unwrap();
    assert_eq!(greet(&victim).await, METHOD);
    let definitions = victim.directory().join("definitions.json");
    fs::write(&definitions, DEFINITIONS).unwrap();
    victim.ctl(["import_definitions", definitions.to_str().unwrap()]).await.unwrap();
    victim.ctl(["add_user", "clerk", services::PASSWORD]).await.unwrap();

    victim.kill().unwrap();
    assert!(!listens(&victim));
    victim.start_again().await.unwrap();
    assert_eq!(greet(&victim).await, METHOD);
    let queues = victim.ctl(["list_queues", "--no-table-headers", "name", "durable"]).await.unwrap();
    assert_eq!(queues.trim(), "kept\ttrue");
    assert!(victim.ctl(["list_users"]).await.unwrap().contains("clerk"));
    stands_still_and_goes_on(&victim, async || greet(&victim).await).await;
    victim.pause().unwrap();
    stops(&victim).await;
}

#[tokio::test]
async fn rabbitmq_raises_an_alarm_and_speaks_tls() {
    let victim = services::rabbitmq::start().await.unwrap();
    victim.alarm(true).await.unwrap();
    assert!(alarms(&victim).await.contains("memory"));
    victim.alarm(false).await.unwrap();
    assert_eq!(alarms(&victim).await, "[]");
    let error = victim.ctl(["delete_user", "nobody"]).await.expect_err("there is no such user");
    assert!(format!("{error:#}").contains("does not exist"), "{error:#}");

    let url = victim.amqps_url();
    let (_, address) = url.split_once('@').unwrap();
    let address = address.trim_end_matches("/%2f");
    let authority = victim.authority();
    for name in ["-verify_hostname localhost", "-verify_ip 127.0.0.1"] {
        let mut arguments = vec!["s_client", "-connect", address, "-CAfile", authority.to_str().unwrap()];
        arguments.extend(name.split(' ').chain(["-verify_return_error"]));
        let session = client("openssl", &arguments).await.unwrap();
        assert!(session.contains("Verify return code: 0 (ok)"), "{name}: {session}");
    }
}
