//! What the attributes of a function say, once they are known to make sense.

use syn::{Expr, ExprPath, LitStr, Path};

use crate::args::{Argument, Ask, Fence};

/// One call of the annotated function: its messages are stored, decided and sent together.
pub(crate) struct Call {
    /// Where generated code finds the runtime.
    pub(crate) crate_path: Path,
    pub(crate) messenger: Option<Argument<Expr>>,
    /// Makes the function's error from ours; without it, the type does that itself.
    pub(crate) error: Option<Argument<ExprPath>>,
    pub(crate) answer: Answer,
    /// In the order of the attributes.
    pub(crate) messages: Vec<Message>,
}

/// Who is asked whether an unreported call took effect.
pub(crate) enum Answer {
    Fence(Argument<Fence>),
    CheckBack { on_err: Option<Argument<Ask>>, check_after: Option<Argument<Expr>> },
}

/// What is sent.
pub(crate) enum Payload {
    One(Argument<Expr>),
    /// An iterator, and a message for each of its items.
    Each(Argument<Expr>),
}

/// What one attribute sends.
pub(crate) struct Message {
    pub(crate) exchange: Expr,
    pub(crate) routing_key: Argument<Expr>,
    pub(crate) payload: Payload,
    pub(crate) business_key: Option<Argument<Expr>>,
    pub(crate) headers: Option<Argument<Expr>>,
    pub(crate) type_name: Option<Argument<Expr>>,
    /// The payload is bytes then, in a format of the user's own.
    pub(crate) content_type: Option<Argument<Expr>>,
    /// `delay` or `deliver_at`.
    pub(crate) not_before: Option<Argument<Expr>>,
    pub(crate) expires_in: Option<Argument<Expr>>,
    pub(crate) priority: Option<Argument<Expr>>,
    /// There if, and only if, a handler is asked.
    pub(crate) producer: Option<HandlerRegistration>,
}

/// The handler of a message, and the name by which it is found again after a restart.
pub(crate) struct HandlerRegistration {
    pub(crate) name: LitStr,
    pub(crate) handler: Argument<ExprPath>,
}
