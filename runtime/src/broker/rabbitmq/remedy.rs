//! Commands that a person is told to run.

use super::delivery_limit::Limit;
use super::topology::DELIVERY_LIMIT;

/// A word for a shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What to do about a queue with this delivery limit.
pub(super) fn against_limit(vhost: &str, queue: &str, limit: &Limit) -> String {
    match limit {
        // RabbitMQ takes the smaller one of the queue's own and a policy's.
        Limit::Other(_) => format!(
            "no policy can raise a limit that the queue itself was declared with: move its messages to another queue (by a \
             shovel, or *Move messages* on the management page), delete `{queue}`, start its consumer, which declares it anew, and \
             move them back"
        ),
        _ => limit_policy(vhost, queue),
    }
}

/// The command that gives a queue the limit that it was not declared with.
fn limit_policy(vhost: &str, queue: &str) -> String {
    let (vhost, name) = (quoted(vhost), quoted(&format!("{queue}.limit")));
    let pattern = quoted(&format!("^{}$", escaped(queue)));
    format!(
        "rabbitmqctl set_policy -p {vhost} {name} {pattern} \
         '{{\"delivery-limit\":{DELIVERY_LIMIT},\"overflow\":\"reject-publish\"}}' --apply-to queues (merge it with the queue's \
         present policy, it can have only one: rabbitmqctl list_queues -p {vhost} name policy)"
    )
}

/// A regular expression for this text and no other.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for one in text.chars() {
        if r"\.+*?()|[]{}^$#".contains(one) {
            pattern.push('\\');
        }
        pattern.push(one);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let policy = against_limit("a'b", "books+(new).dead", &Limit::Missing);
        assert!(
            policy.contains(r"-p 'a'\''b' 'books+(new).dead.limit' '^books\+\(new\)\.dead$'"),
            "{policy}"
        );
    }

    #[test]
    fn a_policy_is_no_remedy_where_the_queue_has_a_limit_of_its_own() {
        let remedy = against_limit("/", "books", &Limit::Other("5".into()));
        assert!(remedy.starts_with("no policy can raise") && !remedy.contains("set_policy"), "{remedy}");
    }
}
