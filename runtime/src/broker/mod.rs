//! What carries messages to consumers: this process itself, or RabbitMQ.

pub(crate) mod in_process;
#[cfg(feature = "rabbitmq")]
pub(crate) mod rabbitmq;
pub(crate) mod topic;
