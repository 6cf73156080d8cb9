//! The composition root: puts a messenger together, and refuses what would not work.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::checks;
#[cfg(feature = "_sql")]
use super::consumers::Consumers;
use super::counts::Counting;
use super::handle::Messenger;
use super::lifecycle::{Lifecycle, Workers};
use crate::broker::in_process::InProcess;
use crate::call::admission::Admission;
use crate::call::calls::{Calls, Shared};
use crate::call::group_commit::GroupCommit;
use crate::check_back::registry::Registry;
use crate::check_back::{CheckBack, DataMap, Handler, handler};
use crate::database::DatabaseSource;
use crate::error::{Error, ErrorKind};
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::service::Services;
use crate::settings::Settings;
use crate::store::measured::Measured;
use crate::transport::Transport;
use crate::worker::alone::Alone;
use crate::worker::checker::{Asker, Checker};
use crate::worker::gauges::Sampler;
use crate::worker::janitor::{Inboxes, Janitor};
use crate::worker::lease_renewer::LeaseRenewer;
use crate::worker::pause_watcher::PauseWatcher;
use crate::worker::pauses::Pauses;
use crate::worker::presence::Presence;
use crate::worker::relay::Relay;
use crate::worker::relay::slots::RelayQueue;
use crate::worker::reporter::Reporter;
use crate::worker::transport_driver::TransportDriver;

/// Puts a [`Messenger`] together.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct MessengerBuilder {
    store: DatabaseSource,
    settings: Settings,
    service: Option<String>,
    old_services: Vec<String>,
    fences: Vec<(String, DatabaseSource)>,
    data: DataMap,
    handlers: Vec<(String, CheckBack)>,
    aliases: Vec<(String, String)>,
    expected: Vec<String>,
    #[cfg(feature = "testing")]
    any_fence_name: bool,
    #[cfg(feature = "_sql")]
    consumers: Vec<crate::Consumer>,
    #[cfg(feature = "rabbitmq")]
    rabbitmq: Option<crate::RabbitMq>,
}

impl Messenger {
    /// Begins to put a messenger together. `store` is where messages are kept: a URL such as
    /// `sqlite://shop.db`, or a pool, whose options are taken over.
    pub fn builder(store: impl Into<DatabaseSource>) -> MessengerBuilder {
        MessengerBuilder::new(store.into())
    }
}

impl MessengerBuilder {
    fn new(store: DatabaseSource) -> Self {
        Self {
            store,
            settings: Settings::default(),
            service: None,
            old_services: Vec::new(),
            fences: Vec::new(),
            data: DataMap::default(),
            handlers: Vec::new(),
            aliases: Vec::new(),
            expected: Vec::new(),
            #[cfg(feature = "testing")]
            any_fence_name: false,
            #[cfg(feature = "_sql")]
            consumers: Vec::new(),
            #[cfg(feature = "rabbitmq")]
            rabbitmq: None,
        }
    }

    /// Replaces the settings.
    pub const fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Names the service that this process is one of. Default: `default`.
    ///
    /// Services that keep their messages in one store need a name each. A process delivers the messages of its own
    /// service, and its check-back handlers answer for those alone. Fences answer the same to everybody, so every
    /// process that has a fence asks it, and leaves what was confirmed to the service whose message it is. All
    /// processes of a service have the same name, which is stored with its messages: 1 to 100 bytes, without spaces,
    /// control characters and colons.
    pub fn service(mut self, name: impl Display) -> Self {
        self.service = Some(name.to_string());
        self
    }

    /// Takes over the messages of a service with an `old` name, as after a renaming: delivers them, and answers for
    /// them. `default` is the name of what was stored before the service had one.
    pub fn service_alias(mut self, old: impl Display) -> Self {
        self.old_services.push(old.to_string());
        self
    }

    /// Names a business database whose transactions fenced functions use: `fence = "name"`, or
    /// bare `fence` when there is only one.
    pub fn fence(mut self, name: impl Display, database: impl Into<DatabaseSource>) -> Self {
        self.fences.push((name.to_string(), database.into()));
        self
    }

    /// Lets every name mean the only fence: a test has one database.
    #[cfg(feature = "testing")]
    pub(crate) const fn any_fence_name(mut self) -> Self {
        self.any_fence_name = true;
        self
    }

    /// Gives check-back handlers what they take as [`Data<T>`](crate::Data).
    pub fn data<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Registers a check-back handler by hand: for [`Messenger::call`], or for a crate that the
    /// binary does not name otherwise.
    pub fn check_back<M, A, H: Handler<M, A>>(mut self, name: impl Display, function: H) -> Self {
        self.handlers.push((name.to_string(), handler(function).erase()));
        self
    }

    /// Lets the handler `new` answer for messages that were stored under the name `old`.
    pub fn alias(mut self, old: impl Display, new: impl Display) -> Self {
        self.aliases.push((old.to_string(), new.to_string()));
        self
    }

    /// Refuses to build unless these check-back handlers are registered: a crate that the binary
    /// never names registers nothing, silently.
    pub fn expect<N: Display>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.expected.extend(names.into_iter().map(|name| name.to_string()));
        self
    }

    /// Adds a consumer.
    #[cfg(feature = "_sql")]
    pub fn consumer(mut self, consumer: crate::Consumer) -> Self {
        self.consumers.push(consumer);
        self
    }

    /// Delivers through RabbitMQ: a URL (`amqp://user:password@host:5672/vhost`), or a
    /// [`RabbitMq`](crate::RabbitMq) with more to say. Consumers subscribe there, too. Without it,
    /// delivery is within the process.
    #[cfg(feature = "rabbitmq")]
    pub fn rabbitmq(mut self, rabbitmq: impl Into<crate::RabbitMq>) -> Self {
        self.rabbitmq = Some(rabbitmq.into());
        self
    }

    /// Checks everything, and opens the databases. Nothing runs until
    /// [`start`](Messenger::start).
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with the remedy in its text, [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Cancel safe: nothing was begun.
    pub async fn build(mut self) -> Result<Messenger, Error> {
        let transport = self.transport()?;
        let messenger = self.build_with(transport).await?;
        checks::check_servers(&messenger.calls).await?;
        checks::warn_of_weaknesses(&messenger.calls).await?;
        Ok(messenger)
    }

    /// RabbitMQ if that was asked for, and otherwise this process itself.
    #[cfg_attr(
        not(feature = "rabbitmq"),
        expect(clippy::unnecessary_wraps, reason = "what is said of RabbitMQ may be wrong")
    )]
    fn transport(&mut self) -> Result<Arc<dyn Transport>, Error> {
        #[cfg(feature = "rabbitmq")]
        if let Some(rabbitmq) = self.rabbitmq.take() {
            return Ok(Arc::new(rabbitmq.open(self.settings.publish_timeout)?));
        }
        Ok(Arc::new(InProcess::new(&self.settings)))
    }

    /// Puts everything together, and knows who is connected to whom.
    async fn build_with(mut self, transport: Arc<dyn Transport>) -> Result<Messenger, Error> {
        self.settings.validate()?;
        let settings = self.settings;
        let services = Services::new(self.service.take(), std::mem::take(&mut self.old_services))?;
        let handlers = Arc::new(self.handlers()?);
        let (alone, inboxes) = (Alone::default(), Inboxes::default());
        let (in_force, pauses) = Pauses::new();
        #[cfg(feature = "_sql")]
        let consumers = Arc::new(Consumers::new(&transport, &handlers, &alone, &inboxes, &pauses));
        #[cfg(feature = "_sql")]
        let (announcing, tell) = consumers.known_to_workers();
        #[cfg(not(feature = "_sql"))]
        let (announcing, tell) = (Arc::new(Vec::new), Arc::new(|| {}));
        #[cfg(feature = "_sql")]
        let loops =
            self.consumers.drain(..).map(|consumer| consumers.add(consumer)).collect::<Result<_, _>>()?;
        let store = Arc::new(Measured::new(self.store.open_store().await?));
        let fences = Arc::new(self.fences().await?);

        let admission = Arc::new(Admission::default());
        let held = HeldStore::new(store, settings.lease, settings.report_backoff);
        let (reports, reports_in) = mpsc::unbounded_channel();
        let (questions, questions_in) = mpsc::unbounded_channel();
        let (relay, relay_in) = RelayQueue::new(&settings, &held, &transport);
        let asker = Asker {
            settings,
            services: services.clone(),
            held: held.clone(),
            fences: Arc::clone(&fences),
            handlers: Arc::clone(&handlers),
            transport: Arc::clone(&transport),
            relay: relay.clone(),
            alone,
            pauses: pauses.clone(),
        };
        let workers = Workers {
            reporter: Reporter::new(&held, relay, questions, reports_in),
            checker: Checker::new(asker, questions_in),
            relay: Relay::new(&settings, &services, &held, &transport, &pauses, relay_in),
            transport_driver: TransportDriver { transport: Arc::clone(&transport) },
            #[cfg(feature = "_sql")]
            consumers: loops,
            janitor: Janitor::new(&settings, &services, &held, &fences, &handlers, &inboxes, &pauses),
            presence: Presence::new(&settings, &services, &held, &fences, &handlers, &transport, announcing),
            pause_watcher: PauseWatcher::new(&settings, &held, in_force, tell),
            lease_renewer: LeaseRenewer::new(&held),
            sampler: Sampler::new(&held, &fences, &handlers, &admission),
        };
        let lifecycle = Arc::new(Mutex::new(Lifecycle::new(workers)));
        let shared = Shared {
            group_commit: GroupCommit::new(held.clone()),
            settings,
            services,
            held,
            fences,
            handlers,
            transport,
            admission,
            reports,
        };
        let calls = Calls::new(shared, lifecycle.clone());
        Ok(Messenger {
            calls,
            lifecycle,
            counting: Arc::new(Counting::default()),
            #[cfg(feature = "_sql")]
            consumers,
        })
    }

    /// A messenger whose calls are let in, and its workers, which nobody runs.
    #[cfg(feature = "testing")]
    pub(crate) async fn prepare_with(
        self,
        transport: Arc<dyn Transport>,
    ) -> Result<(Messenger, Workers), Error> {
        let messenger = self.build_with(transport).await?;
        messenger.migrate().await?;
        let workers = super::lifecycle::prepare(&messenger.calls, &messenger.lifecycle).await?;
        Ok((messenger, workers))
    }

    fn handlers(&mut self) -> Result<Registry, Error> {
        let mut handlers = Registry::linked(std::mem::take(&mut self.data))?;
        for (name, handler) in self.handlers.drain(..) {
            handlers.add(&name, None, handler)?;
        }
        for (old, new) in &self.aliases {
            handlers.alias(old, new)?;
        }
        handlers.expect(&self.expected)?;
        Ok(handlers)
    }

    async fn fences(&mut self) -> Result<Fences, Error> {
        let mut fences = Fences::default();
        for (name, source) in self.fences.drain(..) {
            if name.is_empty() {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "a fence has an empty name: name its database",
                ));
            }
            fences.add(name, source.open_fence(self.settings.fence_lock_timeout).await?)?;
        }
        #[cfg(feature = "testing")]
        if self.any_fence_name {
            fences.accept_any_name();
        }
        Ok(fences)
    }
}
