//! A store in Latin 1, which holds few of the texts that errors are made of.

use it::AnsweredBy;
use it::{Fragile, Place, PostgresSchemas, fast, says, send};
use transactional_message::{Actor, AuditFilter, ErrorKind, Message, MessageState, Messenger};

use crate::World;
use crate::servers::counts::counts_arrive_without_their_texts;

#[tokio::test]
async fn counts_arrive_in_latin_1_and_what_it_can_not_hold_is_refused_before_the_body() {
    let world = World::new().await;
    let name = format!("{}_latin", world.place.name());
    let create = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    world.place.administer(format!("CREATE DATABASE {name} {create}")).await;
    let mut url = world.place.server();
    url.set_path(&name);
    let builder = Messenger::builder(url.as_str())
        .settings(fast().delivery_attempts(3).check_back_attempts(3))
        .data(world.oracle.clone())
        .fence("orders", PostgresSchemas::database_of(&world.shop))
        .consumer(world.consumer());
    let messenger = World::start(builder).await;
    counts_arrive_without_their_texts(&world, &messenger).await;

    // Nor does a name keep a decision from being taken.
    let parked = messenger.admin().list(MessageState::Parked, None, 1).await.expect("lists").remove(0);
    let wei = Actor::new("张伟@desk", "cli");
    messenger.admin().by(&wei).contents(parked.id, "看一下").await.expect("is recorded");
    messenger.admin().by(&wei).cancel(parked.id, "看过了").await.expect("cancels");
    let records =
        messenger.admin().audit(&AuditFilter::default().message(parked.id), 2).await.expect("reads");
    assert!(records.len() == 2 && records.iter().all(|record| record.user == "??@desk"), "{records:?}");

    let message = |key| Message::bytes("shop", "order.raw", "text/plain", "").business_key(key);
    let body = async { Ok::<(), transactional_message::Error>(()) };
    let handler = AnsweredBy::Handler("it.handled".into());
    let error =
        messenger.call(it::call(handler, [message("Zürich 💶")]), body).await.expect_err("no such letter");
    says(&error, ErrorKind::InvalidMessage, &["could not be stored, so its body did not run", "22P05"]);
    assert!(!error.body_ran());
    send(&messenger, message("Zürich")).await;
    world.settled(&messenger).await;
    assert!(messenger.shutdown(std::time::Duration::from_secs(30)).await);
    world.place.administer(format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
