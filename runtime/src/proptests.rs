//! Arbitrary and extreme values, where the domain, the settings and the decoders take them.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::Settings;
use crate::broker::topic::Pattern;
use crate::check_back::{Decode, RawPayload};
use crate::held::lease::Leases;
use crate::message::limits::{Limits, SHORT_STRING_BYTES};
use crate::message::{AnsweredBy, Message, MessageId};
use crate::settings::Backoff;

/// Also around the bounds, and with NULs.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,20}",
        vec(any::<char>(), 0..6).prop_map(String::from_iter),
        (250..260_usize).prop_map(|length| "x".repeat(length)),
        (120..130_usize).prop_map(|length| "ü".repeat(length)),
        "[a-z]{0,3}\0[a-z]{0,3}",
    ]
}

prop_compose! {
    fn messages()(
        texts in [text(), text(), text()], business_key in option::of(text()), message_type in option::of(text()),
        headers in vec((text(), text()), 0..4), payload in vec(any::<u8>(), 0..40),
    ) -> Message {
        let [exchange, routing_key, content_type] = texts;
        let rest = Message::bytes(exchange, routing_key, content_type, payload);
        Message { message_type, business_key, headers, ..rest }
    }
}

/// From nothing to the end of time.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::from_millis(u64::MAX)),
        any::<(u64, u32)>().prop_map(|(secs, nanos)| Duration::new(secs, nanos % 1_000_000_000)),
        (0..100_000_000_u64).prop_map(Duration::from_millis),
        (0..10_000_u64).prop_map(Duration::from_millis),
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    (duration(), duration()).prop_map(|(first, max)| Backoff::new(first, max))
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(usize::MAX), any::<usize>(), 0..100_000_usize]
}

/// The defaults, with some of the settings changed: if all were, hardly one would be valid.
fn settings() -> impl Strategy<Value = Settings> {
    let change = prop_oneof![
        (0..11_u8, duration()).prop_map(|(which, to)| (which, to, 0, Backoff::new(to, to))),
        (11..18_u8, number()).prop_map(|(which, to)| (which, Duration::ZERO, to, FAST)),
        (18..21_u8, backoff()).prop_map(|(which, to)| (which, Duration::ZERO, 0, to)),
    ];
    vec(change, 0..4).prop_map(|changes| {
        let mut settings = Settings::default();
        for (which, duration, number, backoff) in changes {
            change_one(&mut settings, which, duration, number, backoff);
        }
        settings
    })
}

const FAST: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));

fn change_one(settings: &mut Settings, which: u8, duration: Duration, number: usize, backoff: Backoff) {
    let count = u32::try_from(number).unwrap_or(u32::MAX);
    match which {
        0 => settings.lease = duration,
        1 => settings.half_timeout = duration,
        2 => settings.check_after = duration,
        3 => settings.handler_timeout = duration,
        4 => settings.check_back_horizon = duration,
        5 => settings.fence_lock_timeout = duration,
        6 => settings.publish_timeout = duration,
        7 => settings.poll_interval = duration,
        8 => settings.retention = duration,
        9 => settings.janitor_interval = duration,
        10 => (settings.check_back_horizon, settings.retention) = (duration, Duration::MAX),
        11 => settings.check_back_attempts = count,
        12 => settings.delivery_attempts = count,
        13 => settings.relay_window = number,
        14 => settings.relay_bytes = number,
        15 => settings.relay_queue = number,
        16 => settings.body_limit = number,
        17 => settings.headers_limit = number,
        18 => settings.check_back_backoff = backoff,
        19 => settings.delivery_backoff = backoff,
        _ => settings.report_backoff = backoff,
    }
}

/// Everything that is made of settings.
fn exercise(settings: &Settings) {
    for backoff in [settings.check_back_backoff, settings.delivery_backoff, settings.report_backoff] {
        for tries in [0, 1, 31, 32, 33, u32::MAX] {
            let pause = backoff.delay(tries);
            assert!(pause >= backoff.first, "{pause:?} after {tries}");
            assert!(pause <= backoff.max.saturating_mul(2), "{pause:?} after {tries}");
        }
    }
    let leases = Leases::new(settings.lease);
    let id = MessageId::from_uuid(Uuid::from_u128(1));
    leases.took([id], leases.deadline());
    assert!(leases.surely_holds(&id) && leases.to_renew().is_empty());
    assert!(!leases.tick().is_zero());
    for clock in [Duration::ZERO, Duration::from_millis(i64::MAX.unsigned_abs()), Duration::from_secs(1)] {
        leases.in_contact(tokio::time::Instant::now(), clock);
        let _ = leases.lapsed_before();
    }
    // A question is held for so long.
    assert!(settings.handler_timeout + settings.lease > settings.lease);
    settings.limits().check(&Message::bytes("e", "k", "t", "b")).expect("one byte is always allowed");
}

/// The definition, word by word. Exponential, and so for short patterns only.
fn matches(pattern: &[&str], words: &[&str]) -> bool {
    match pattern.split_first() {
        None => words.is_empty(),
        Some((&"#", rest)) => (0..=words.len()).any(|taken| matches(rest, &words[taken..])),
        Some((part, rest)) => words
            .split_first()
            .is_some_and(|(word, words)| (*part == "*" || part == word) && matches(rest, words)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn limits_let_through_what_fits_and_nothing_else(message in messages(), body in 0..50_usize, headers in 0..600_usize) {
        let short = |text: &str| text.len() <= SHORT_STRING_BYTES && !text.contains('\0');
        let texts = [&message.exchange, &message.routing_key, &message.content_type].into_iter();
        let texts = texts.chain(&message.business_key).chain(&message.message_type);
        let size: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let fits = texts.into_iter().all(|text| short(text))
            && message.headers.iter().all(|(name, value)| short(name) && !value.contains('\0'))
            && message.payload.len() <= body
            && size <= headers;
        let checked = Limits { body_bytes: body, headers_bytes: headers }.check(&message);
        prop_assert_eq!(checked.is_ok(), fits, "{:?}", checked);
    }

    #[test]
    fn who_answers_is_read_as_it_was_written(service in "[^:]{0,9}", name in text(), identity in any::<u128>()) {
        let handlers = [service, "default".to_owned()].map(|service| AnsweredBy::Handler { service, name: name.clone() });
        prop_assert_eq!(handlers.clone().map(|who| who.to_string().parse()), handlers.map(Ok));
        for who in [AnsweredBy::Fence(Uuid::from_u128(identity).into()), AnsweredBy::Nobody] {
            prop_assert_eq!(who.to_string().parse(), Ok(who));
        }
    }

    #[test]
    fn whatever_stands_in_that_column_is_read_or_refused(prefix in "(fence|handler|nobody|)", rest in text()) {
        for text in [format!("{prefix}{rest}"), format!("{prefix}:{rest}")] {
            if let Ok(who) = text.parse::<AnsweredBy>() {
                prop_assert_eq!(who.to_string().parse(), Ok(who));
            }
        }
    }

    #[test]
    fn a_pattern_matches_by_its_definition(pattern in "([ab]|\\*|#|)(\\.([ab]|\\*|#|)){0,5}", key in "[ab]?(\\.[ab]?){0,5}") {
        let (parts, words): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), key.split('.').collect());
        prop_assert_eq!(Pattern::new(&pattern).matches(&key), matches(&parts, &words));
    }

    #[test]
    fn settings_are_refused_or_everything_made_of_them_works(settings in settings()) {
        if settings.validate().is_ok() {
            exercise(&settings);
        }
    }

    #[test]
    fn any_body_is_decoded_or_refused(body in prop_oneof![vec(any::<u8>(), 0..60), "[\\[\\]{}\",:0-9a-z\\\\ue.-]{0,60}".prop_map(String::into_bytes)]) {
        prop_assert_eq!(RawPayload::decode(&body), Ok(RawPayload(body.clone())));
        let value = serde_json::Value::decode(&body);
        prop_assert_eq!(value.is_ok(), serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        // What is said about it does not quote it.
        if let Err(why) = value {
            prop_assert!(why.starts_with("no valid JSON, at line "), "{why}");
        }
    }
}

#[test]
fn a_body_that_is_nested_too_deeply_is_refused() {
    for open in ["[", "{\"a\":"] {
        let why = serde_json::Value::decode(open.repeat(100_000).as_bytes()).expect_err("no end");
        assert!(why.starts_with("no valid JSON"), "{why}");
    }
}
