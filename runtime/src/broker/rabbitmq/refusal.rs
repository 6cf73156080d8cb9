//! What a broker refuses: a message, or all that go where it went.

/// What the broker refused, by refusing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All messages to its exchange.
    Exchange,
    /// All messages to its exchange with its routing key.
    RoutingKey,
    /// That message.
    Message,
}

/// RabbitMQ has one code for all that a user may not do, and says the rest in words (the same from 3.10 to 4.3).
pub(super) fn refused_what(code: Option<u16>, said: &str) -> What {
    // Up to the first name: those are anybody's.
    let said = said.split('\'').next().unwrap_or_default();
    match code {
        Some(403) if said.contains("access to topic") => What::RoutingKey,
        Some(403) if said.contains("access to exchange") || said.contains("internal exchange") => {
            What::Exchange
        }
        _ => What::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RabbitMQ 3.10, 4.0 and 4.3 say it.
    #[test]
    fn a_refusal_is_of_what_it_names() {
        for (code, said, what) in [
            (
                403,
                "ACCESS_REFUSED - access to topic 'secret' in exchange 'shop' in vhost '/' refused for user 'u'",
                What::RoutingKey,
            ),
            (
                403,
                "ACCESS_REFUSED - write access to topic 'secret' in exchange 'shop' in vhost '/' refused for user 'u'",
                What::RoutingKey,
            ),
            (
                403,
                "ACCESS_REFUSED - access to exchange 'shop' in vhost '/' refused for user 'u'",
                What::Exchange,
            ),
            (
                403,
                "ACCESS_REFUSED - write access to exchange 'shop' in vhost '/' refused for user 'u'",
                What::Exchange,
            ),
            (403, "ACCESS_REFUSED - cannot publish to internal exchange 'shop' in vhost '/'", What::Exchange),
            (403, "ACCESS_REFUSED - of a kind that is not known yet", What::Message),
            (
                406,
                "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'u'",
                What::Message,
            ),
            (
                406,
                "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000",
                What::Message,
            ),
        ] {
            assert_eq!(refused_what(Some(code), said), what, "{said}");
        }
        assert_eq!(refused_what(None, "access to topic"), What::Message);
    }
}
