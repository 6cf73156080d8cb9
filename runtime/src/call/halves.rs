//! Makes a call's halves: works out who answers for them, and checks them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::Span;

use super::calls::Calls;
use super::description::{Call, Fence, HandlerName};
use super::live::LiveCall;
use super::scope::CallScope;
use crate::error::{Error, ErrorKind};
use crate::message::{AnsweredBy, CallId, Half, Message, MessageId};
use crate::rules::body_state::{Body, Resolver};
use crate::telemetry::context;

/// The longest name of a call.
const NAME_BYTES: usize = 1000;

pub(super) fn to_live(calls: &Calls, call: Call) -> Result<LiveCall, Error> {
    if let Some(broken) = call.broken {
        return Err(broken);
    }
    check_name(&call.name)?;
    if call.fence.is_some() && (call.ask_on_err || call.check_after.is_some()) {
        let name = call.name;
        let why = format!(
            "`{name}` is fenced, and says `ask_on_err` or `check_after`: they are for check-back handlers"
        );
        return Err(Error::new(ErrorKind::Misuse, why));
    }
    let ids: Vec<_> = call.messages.iter().map(|_| MessageId::new()).collect();
    let call_id = ids.first().copied().map_or_else(CallId::new, CallId::of);
    let resolver = match &call.fence {
        None => Resolver::Handler,
        Some(Fence::Only) => Resolver::Fence(calls.fences.only(&call.name)?),
        Some(Fence::Named(fence)) => Resolver::Fence(calls.fences.named(fence, &call.name)?),
    };
    let check_after = call.check_after.unwrap_or(calls.settings.check_after);
    let mut halves = Vec::with_capacity(ids.len());
    for (id, (mut message, handler)) in ids.into_iter().zip(call.messages) {
        check(calls, &call.name, &message)?;
        message.schedule = message.schedule.without_past();
        let (answered_by, package) = answered_by(calls, &call.name, resolver, handler)?;
        halves.push(Arc::new(Half {
            id,
            call_id,
            service: calls.services.own().to_owned(),
            package,
            function: call.name.clone(),
            answered_by,
            check_after: if resolver == Resolver::Handler { check_after } else { Duration::ZERO },
            expires: message.schedule.expiry(),
            message,
        }));
    }
    let idle = call.idle.into_iter().map(|handler| answered_by(calls, &call.name, resolver, Some(handler)));
    let idle = idle.collect::<Result<_, _>>()?;
    let fence = match resolver {
        Resolver::Fence(identity) => calls.fences.by_identity(identity).cloned(),
        Resolver::Handler => None,
    };
    let scope = CallScope {
        call_id,
        function: call.name,
        resolver,
        fence,
        messages: halves.len(),
        idle,
        limits: calls.settings.limits(),
        body: Mutex::new(Body::default()),
    };
    let troubles = calls.held.store().troubles();
    Ok(LiveCall { scope: Arc::new(scope), halves, ask_on_err: call.ask_on_err, check_after, troubles })
}

/// Lets a message, which is fine by itself, carry the context of the trace in which it is sent. Not where it would be too long
/// with that.
pub(super) fn put_context(calls: &Calls, span: &Span, message: &mut Message) {
    let headers = message.headers.len();
    if context::inject(span, &mut message.headers) && check(calls, "", message).is_err() {
        message.headers.truncate(headers);
    }
}

/// It is stored with every message, beside texts that were checked when they were compiled.
fn check_name(name: &str) -> Result<(), Error> {
    if name.len() <= NAME_BYTES && !name.contains('\0') {
        return Ok(());
    }
    let bytes = name.len();
    let why = format!("the name of a call has {bytes} bytes: it may have {NAME_BYTES}, none of them NUL");
    Err(Error::new(ErrorKind::InvalidMessage, why))
}

/// The half of a message that a body has decided on.
pub(super) fn decided_half(
    calls: &Calls,
    call: &LiveCall,
    scope: &CallScope,
    id: MessageId,
    mut message: Message,
) -> Result<Arc<Half>, Error> {
    message.schedule = message.schedule.without_past();
    put_context(calls, &Span::current(), &mut message);
    let half = |answered_by, package, check_after| {
        Ok(Arc::new(Half {
            id,
            call_id: scope.id(),
            service: calls.services.own().to_owned(),
            package,
            function: scope.function.clone(),
            answered_by,
            check_after,
            expires: message.schedule.expiry(),
            message,
        }))
    };
    if let Resolver::Fence(identity) = scope.resolver {
        return half(AnsweredBy::Fence(identity), None, Duration::ZERO);
    }
    let of_halves = call.halves().map(|half| (&half.answered_by, &half.package));
    let mut handlers = of_halves.chain(scope.idle.iter().map(|(name, package)| (name, package)));
    match handlers.next() {
        Some((first, package)) if handlers.all(|(other, _)| other == first) => {
            half(first.clone(), package.clone(), call.check_after)
        }
        first => {
            let who =
                if first.is_some() { "several check-back handlers" } else { "neither a fence nor a handler" };
            let why = format!(
                "`send` was called in `{}`, for which {who} answer: which is to be asked?",
                scope.function
            );
            Err(Error::new(ErrorKind::Misuse, why).in_body())
        }
    }
}

/// Refuses what could never be stored or published.
pub(super) fn check(calls: &Calls, name: &str, message: &Message) -> Result<(), Error> {
    calls.settings.limits().check(message)?;
    calls.transport.refuses(message).map_or(Ok(()), |why| {
        let why = format!("a message of `{name}` can't be sent: {why}");
        Err(Error::new(ErrorKind::InvalidMessage, why))
    })
}

/// Who answers for a message, and the package of its handler.
fn answered_by(
    calls: &Calls,
    name: &str,
    resolver: Resolver,
    handler: Option<HandlerName>,
) -> Result<(AnsweredBy, Option<String>), Error> {
    let misuse = |who| Err(Error::new(ErrorKind::Misuse, format!("a message of `{name}` names {who}")));
    match (resolver, handler) {
        (Resolver::Fence(identity), None) => Ok((AnsweredBy::Fence(identity), None)),
        (Resolver::Handler, Some(handler)) => {
            let service = calls.services.own().to_owned();
            let answered_by = AnsweredBy::Handler { service, name: calls.handlers.require(handler.name)? };
            Ok((answered_by, handler.package.map(str::to_owned)))
        }
        (Resolver::Handler, None) => misuse("neither a fence nor a check-back handler"),
        (Resolver::Fence(_), Some(_)) => misuse("both a fence and a check-back handler: one of them answers"),
    }
}
