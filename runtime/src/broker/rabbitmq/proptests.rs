//! Whatever a stranger puts into a queue, and whatever is put into a message: nothing here panics,
//! and nothing leaves that would cost the connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::protocol::basic::gen_properties;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable, LongString};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::incoming::Incoming;
use super::properties::{
    ATTEMPT, AmqpMessage, Body, EXCHANGE, QUEUE, REASON, ROUTING_KEY, Sender, Short, amqp_message,
    table_bytes, tests,
};
use crate::message::Message;
use crate::message::limits::{HEADERS_BYTES, Limits};
use crate::transport::Outgoing;

/// What RabbitMQ and lapin put into one frame.
const FRAME: usize = 128 * 1024;
const NAMES: [&str; 12] = [
    ATTEMPT,
    EXCHANGE,
    ROUTING_KEY,
    REASON,
    QUEUE,
    "x-tm-",
    "x-delivery-count",
    "x-death",
    "x-acquired-count",
    "CC",
    "BCC",
    "traceparent",
];

fn short() -> impl Strategy<Value = Short> {
    "\\PC{0,80}".prop_filter_map("fits", |text| Short::try_new(text).ok())
}

fn name() -> impl Strategy<Value = Short> {
    prop_oneof![prop::sample::select(&NAMES[..]).prop_map(Short::from), short()]
}

/// Some short, some as long as a frame allows.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..FRAME / 2).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        short().prop_map(AMQPValue::ShortString),
        bytes().prop_map(|bytes| AMQPValue::LongString(LongString::from(bytes))),
        bytes().prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            vec((name(), inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(table(entries))),
        ]
    })
}

fn table(entries: Vec<(Short, AMQPValue)>) -> FieldTable {
    FieldTable::from(BTreeMap::from_iter(entries))
}

prop_compose! {
    fn properties()(
        headers in option::of(vec((name(), value()), 0..8).prop_map(table)),
        id in option::of(prop_oneof![any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string()), "\\PC{0,40}"]),
        texts in [option::of(short()), option::of(short()), option::of(short()), option::of(short())],
        numbers in option::of(any::<(u8, u8, u64)>()),
    ) -> BasicProperties {
        let [kind, content_type, correlation_id, user_id] = texts;
        let mut properties = BasicProperties::default();
        macro_rules! set {
            ($($value:expr => $set:ident),*) => { $(if let Some(value) = $value { properties = properties.$set(value); })* };
        }
        set!(headers => with_headers, kind => with_type, content_type => with_content_type,
            correlation_id => with_correlation_id, user_id.clone() => with_user_id, user_id => with_expiration,
            id.and_then(|id| Short::try_new(id).ok()) => with_message_id);
        if let Some((mode, priority, timestamp)) = numbers {
            properties = properties.with_delivery_mode(mode).with_priority(priority).with_timestamp(timestamp);
        }
        properties
    }
}

prop_compose! {
    /// What came from the queue `books`: from anywhere, or as if it had waited.
    fn deliveries()(
        waited in any::<bool>(), exchange in short(), key in short(), properties in properties(),
        body in bytes(),
    ) -> Delivery {
        let (exchange, key) = if waited { ("".into(), "books".into()) } else { (exchange, key) };
        let mut delivery = Delivery::mock(1, exchange, key, false, body);
        delivery.properties = properties;
        delivery
    }
}

/// As it is written into a frame.
fn written(properties: &BasicProperties) -> usize {
    gen_properties(properties)(Vec::new().into()).expect("is written").into_inner().0.len()
}

prop_compose! {
    fn messages()(
        texts in ["\\PC{0,300}", "\\PC{0,80}", "\\PC{0,80}"],
        business_key in option::of("\\PC{0,80}"), kind in option::of("\\PC{0,80}"),
        headers in vec(
            (prop_oneof![prop::sample::select(&NAMES[..]).prop_map(str::to_owned), "\\PC{0,90}"],
             prop_oneof![8 => "\\PC{0,40}".boxed(), 1 => (0..FRAME).prop_map(|n| "ü".repeat(n / 2)).boxed()]),
            0..5,
        ),
        payload in bytes(), priority in option::of(any::<u8>()),
    ) -> Message {
        let [exchange, routing_key, content_type] = texts;
        let rest = Message::bytes(exchange, routing_key, content_type, payload);
        Message { message_type: kind, business_key, headers, priority, ..rest }
    }
}

fn outgoing(message: Message, attempt: u32) -> Outgoing {
    Outgoing { attempt, ..tests::outgoing(message) }
}

/// What arrives at a consumer of `books`.
fn arrived(amqp_message: &AmqpMessage) -> Incoming {
    let AmqpMessage { exchange, routing_key, properties, body } = amqp_message;
    let mut delivery = Delivery::mock(1, exchange.clone(), routing_key.clone(), false, body.bytes().to_vec());
    delivery.properties = properties.clone();
    Incoming::new(delivery, &"books".into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any delivery that fits into a frame goes on to the retry queue and to the dead letters.
    #[test]
    fn whatever_comes_in_is_taken_apart_and_can_go_on(delivery in deliveries()) {
        prop_assume!(written(&delivery.properties) <= FRAME - 64);
        let body = delivery.data.clone();
        let incoming = Incoming::new(delivery, &"books".into());
        prop_assert!(incoming.attempt >= 1);
        let message = incoming.message();
        prop_assert_eq!(&message.payload, &body);
        let reason = AMQPValue::LongString("x".repeat(1024).into());
        let rerouted = incoming.rerouted(&"q".repeat(255).as_str().into(), HEADERS_BYTES, &[(REASON, reason), (QUEUE, AMQPValue::Void)]);
        prop_assert!(written(&rerouted.properties) < FRAME - 64, "{} bytes", written(&rerouted.properties));
        let Body::Bytes(carried) = &rerouted.body else { panic!("is not copied") };
        prop_assert_eq!(&**carried, &body);
        prop_assert_eq!((rerouted.properties.user_id(), rerouted.properties.expiration()), (&None, &None));
        let again = arrived(&AmqpMessage { routing_key: "books".into(), ..rerouted });
        prop_assert_eq!(&again.id, &incoming.id);
        prop_assert_eq!((again.exchange, again.routing_key), (incoming.exchange, incoming.routing_key));
    }

    /// The estimate is never too small, or headers that are too large would cost the connection.
    #[test]
    fn the_size_of_headers_is_not_underestimated(headers in vec((name(), value()), 0..8).prop_map(table)) {
        let exact = written(&BasicProperties::default().with_headers(headers.clone()));
        prop_assert!(table_bytes(&headers) + 6 >= exact, "{} for {exact}", table_bytes(&headers));
    }

    /// What is let through arrives as it was; what is not is refused, and costs nothing else.
    #[test]
    fn whatever_is_sent_arrives_or_is_refused(message in messages(), attempt in any::<u32>()) {
        let within_limits = Limits { body_bytes: usize::MAX, headers_bytes: 64 * 1024 }.check(&message).is_ok();
        let Ok(amqp_message) = amqp_message(&outgoing(message.clone(), attempt), &Sender { cloud_events: Some("/shop".into()), app_id: None }) else {
            prop_assert!(!within_limits);
            return Ok(());
        };
        prop_assert!(written(&amqp_message.properties) < HEADERS_BYTES + 4096);
        let back = arrived(&amqp_message).message();
        // Of headers with one name the last; those of brokers and of ours are left out.
        let theirs: BTreeMap<_, _> =
            message.headers.into_iter().filter(|(name, _)| !NAMES[..11].iter().any(|own| name.starts_with(own))).collect();
        let headers = back.headers.into_iter().filter(|(name, _)| !name.starts_with("cloudEvents:"));
        prop_assert_eq!(headers.collect::<BTreeMap<_, _>>(), theirs);
        prop_assert_eq!(back.exchange, message.exchange);
        prop_assert_eq!(back.routing_key, message.routing_key);
        prop_assert_eq!(back.business_key, message.business_key);
        prop_assert_eq!(back.message_type, message.message_type);
        prop_assert_eq!(back.content_type, message.content_type);
        prop_assert_eq!(back.priority, message.priority);
        prop_assert_eq!(back.payload, message.payload);
    }
}

/// A stranger fills a frame to its last byte, with a header that looks like one of ours.
#[test]
fn a_full_frame_does_not_become_more_than_one() {
    let filler = |bytes: usize| AMQPValue::LongString(vec![b'x'; bytes].into());
    let theirs = HEADERS_BYTES - 100;
    let entries = vec![
        ("x".into(), filler(theirs)),
        (EXCHANGE.into(), filler(FRAME - theirs - 200)),
        (ROUTING_KEY.into(), filler(0)),
    ];
    let properties = BasicProperties::default().with_headers(table(entries));
    assert!((FRAME - 200..FRAME - 64).contains(&written(&properties)));
    let body = Body::Bytes(Arc::default());
    let incoming =
        arrived(&AmqpMessage { exchange: "".into(), routing_key: "books".into(), properties, body });
    let rerouted = incoming.rerouted(&"books".into(), HEADERS_BYTES, &[(REASON, filler(1024))]);
    assert!(written(&rerouted.properties) < FRAME - 64, "{} bytes", written(&rerouted.properties));
}
