//! Looks for what is wrong around the messages, and says what to do about it. Reads only.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Admin;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::limits::Limits;
use crate::message::state::MessageState;
use crate::settings::Settings;
use crate::store::{Filter, LONG_DUE, Pause, ProcessInfo, StoreError};

/// Something that is wrong, or wants a person. See [`Admin::examine`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// By what that is known.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(what: impl Into<String>, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), evidence: evidence.into(), remedy: remedy.into() }
    }
}

/// How far clocks may be apart.
const APART: Duration = Duration::from_secs(1);
/// So many of a service are counted.
const COUNTED: u32 = 500;

impl Admin<'_> {
    /// Looks for what is wrong around the messages: settings of servers under which messages can be lost, fences that can't be
    /// read, messages that nobody takes up, processes of a service whose settings or versions differ, clocks that are apart,
    /// finished messages that nobody deletes, and what waits for a person. Nothing found: nothing is known to be wrong.
    ///
    /// Reads only, and little, so it may be run at any time. What could not be looked at is a finding, too.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the store does not answer.
    pub async fn examine(self) -> Result<Vec<Finding>, Error> {
        let processes = self.processes().await?;
        let alive: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        let failed = |cause: StoreError| cause.into_error("the message store could not be examined");
        let mut found = self.waiting().await?;
        found.extend(self.not_asked_about(&alive).await.map_err(failed)?);
        found.extend(self.not_delivered(&alive).await.map_err(failed)?);
        found.extend(self.weaknesses().await);
        found.extend(self.unfit(&alive).await);
        found.extend(Finding::differences(&processes));
        found.extend(self.clock().await?);
        found.extend(self.not_deleted(&alive).await?);
        Ok(found)
    }

    async fn waiting(self) -> Result<Vec<Finding>, Error> {
        let gauges = self.gauges().await?;
        let mut found = Vec::new();
        if gauges.parked.count > 0 {
            found.push(Finding::new(
                "messages are parked: no answer could be had about them",
                format!("{} messages", gauges.parked.count),
                "find out whether each action took effect, then confirm or cancel (`tm why --state parked`)",
            ));
        }
        if gauges.dead.count > 0 {
            found.push(Finding::new(
                "messages are dead: they could not be delivered",
                format!("{} messages", gauges.dead.count),
                "remove the cause that their reason names, then retry (`tm why --state dead`)",
            ));
        }
        Ok(found)
    }

    async fn not_asked_about(self, alive: &[&ProcessInfo]) -> Result<Vec<Finding>, StoreError> {
        // Without the right to read them, the rest is said all the same.
        if self.store().pauses().await.unwrap_or_default().iter().any(Pause::stops_check_backs) {
            return Ok(Vec::new());
        }
        let due = self.store().due_by_answerer(LONG_DUE).await?;
        Ok(due
            .into_iter()
            .map(|(answered_by, count)| {
                let can = alive.iter().find(|process| process.answers.contains(&answered_by));
                let evidence = format!("{count} half messages of {answered_by} have been due for more than a minute");
                match can {
                    Some(process) => Finding::new(
                        "half messages wait to be asked about, although a process could ask",
                        evidence,
                        format!("look at the log of {}: its store or that fence or handler does not answer", place(process)),
                    ),
                    None => Finding::new(
                        "half messages wait to be asked about, and no process that has announced itself could ask",
                        evidence,
                        "start a process that has this fence or handler; after a renaming, add `MessengerBuilder::alias`",
                    ),
                }
            })
            .collect())
    }

    async fn not_delivered(self, alive: &[&ProcessInfo]) -> Result<Vec<Finding>, StoreError> {
        let due = self.store().due_by_service(LONG_DUE, &[], COUNTED).await?;
        Ok(due
            .into_iter()
            .map(|(service, count)| {
                let can = alive.iter().find(|process| process.delivers && process.services.contains(&service));
                let count = if count >= u64::from(COUNTED) { format!("{count} or more") } else { count.to_string() };
                let evidence =
                    format!("{count} messages of the service `{service}` have been due for more than a minute");
                match can {
                    Some(process) => Finding::new(
                        "messages wait to be delivered, although a process could deliver them",
                        evidence,
                        format!("look at the log of {}: the broker is away, or it is too slow", place(process)),
                    ),
                    None => Finding::new(
                        "messages wait to be delivered, and no process that has announced itself delivers for their service",
                        evidence,
                        "start a process of that service, or add `MessengerBuilder::service_alias` if it was renamed",
                    ),
                }
            })
            .collect())
    }

    async fn weaknesses(self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut tell = |whose: &str, weaknesses: Result<Vec<String>, StoreError>| match weaknesses {
            Ok(weaknesses) => found.extend(weaknesses.into_iter().map(|weakness| {
                let what = format!("{whose} can lose what was committed, in a crash of its machine");
                Finding::new(what, weakness, "set it as PRODUCTION.md says under \"Databases\"")
            })),
            Err(error) => found.push(Finding::new(
                format!("{whose} can't be examined"),
                error.to_string(),
                "start it, or mend the way to it, the password or the rights",
            )),
        };
        tell("the message store", self.store().weaknesses().await);
        for (name, fence) in self.calls().fences.iter() {
            tell(&format!("the business database of the fence `{name}`"), fence.weaknesses().await);
        }
        found
    }

    /// What could never work on these servers, with the settings of the processes that run: a server may be set otherwise
    /// after they were started, and they would not start again.
    async fn unfit(self, alive: &[&ProcessInfo]) -> Vec<Finding> {
        let settings = self.calls().settings;
        let announced = alive.iter().map(|process| settings.heard(&process.settings).limits());
        let Some(limits) = announced.reduce(|one, other| Limits {
            body_bytes: one.body_bytes.max(other.body_bytes),
            headers_bytes: one.headers_bytes.max(other.headers_bytes),
        }) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut tell = |whose: String, fit: Result<(), StoreError>| {
            if let Err(StoreError::Refused(why)) = fit {
                let what = format!("{whose} is on a server with settings under which messages can't be kept");
                let remedy =
                    "set the server as the evidence says; processes with these settings don't start there";
                found.push(Finding::new(what, why, remedy));
            }
        };
        tell("the message store".into(), self.store().check_server(limits).await);
        for (name, fence) in self.calls().fences.iter() {
            let whose = format!("the business database of the fence `{name}`");
            tell(whose, fence.check_server(limits).await);
        }
        found
    }

    /// By the newest message, if there is one.
    async fn clock(self) -> Result<Option<Finding>, Error> {
        let newest = self.search(&Filter::default(), None, 1).await?.messages.pop();
        let now = SystemTime::now();
        let apart = newest
            .map(|message| message.read_at.duration_since(now).unwrap_or_else(|earlier| earlier.duration()));
        Ok(apart.filter(|apart| *apart > APART).map(|apart| {
            Finding::new(
                "the clocks of the message store and of this machine are apart",
                format!("{apart:.1?}"),
                "let both follow a time server: delays and expiry go by the store's clock, ids by each machine's",
            )
        }))
    }

    async fn not_deleted(self, alive: &[&ProcessInfo]) -> Result<Option<Finding>, Error> {
        let settings = self.calls().settings;
        let heard = alive.iter().map(|process| settings.heard(&process.settings).retention).max();
        let retention = heard.unwrap_or(Settings::default().retention);
        // The janitor deletes what is older than that, every minute.
        let Some(long_ago) = SystemTime::now().checked_sub(retention * 2) else { return Ok(None) };
        let filter = Filter::from(MessageState::Delivered).until(long_ago);
        let old = self.search(&filter, None, 1).await?.messages.pop();
        Ok(old.map(|message| {
            Finding::new(
                "finished messages are kept for more than twice their retention",
                format!("message {}, of {}", message.id, message.answered_by),
                "start a process that has the fence of these messages: whoever deletes them deletes its rows first",
            )
        }))
    }
}

impl Finding {
    /// Settings and versions that are not the same in all living processes of a service.
    pub fn differences(processes: &[ProcessInfo]) -> Vec<Self> {
        let alive: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        let mut found = differing(&alive);
        found.extend(strangers(&alive));
        found
    }
}

/// Two programs with one service name that have nothing in common: probably two services. Only where it is known that no
/// package has handlers in both, so that neither versions of one program nor its parts are taken for strangers.
fn strangers(alive: &[&ProcessInfo]) -> Option<Finding> {
    let apart = |one: &[String], other: &[String]| one.iter().all(|part| !other.contains(part));
    let differ = |one: &ProcessInfo, other: &ProcessInfo| {
        let known = !one.packages.is_empty() && !other.packages.is_empty();
        known && one.program != other.program && apart(&one.packages, &other.packages)
    };
    let has_nothing_of = |one: &ProcessInfo, other: &ProcessInfo| {
        apart(&one.answers, &other.answers)
            && apart(&one.fences, &other.fences)
            && apart(&one.consumers, &other.consumers)
    };
    let mut pairs = alive
        .iter()
        .enumerate()
        .flat_map(|(index, one)| alive[..index].iter().map(move |other| (one, other)));
    let (one, other) = pairs.find(|(one, other)| {
        one.services.first() == other.services.first() && differ(one, other) && has_nothing_of(one, other)
    })?;
    let service = one.services.first().map_or("default", String::as_str);
    let shown = |process: &ProcessInfo| {
        format!("`{}` (handlers of {}) on {}", process.program, process.packages.join(", "), place(process))
    };
    Some(Finding::new(
        format!("two programs that have nothing in common are both the service `{service}`"),
        format!("{} and {}", shown(one), shown(other)),
        "if they are two services, give each a name of its own by `MessengerBuilder::service`: as one, each delivers the other's \
         messages to its own broker, and asks its own handlers of the same name about them",
    ))
}

fn differing(alive: &[&ProcessInfo]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (index, one) in alive.iter().enumerate() {
        let of_the_same = |other: &&&ProcessInfo| other.services.first() == one.services.first();
        let Some(other) = alive[..index].iter().find(of_the_same) else { continue };
        let mut tell = |what: String, ours: &str, theirs: &str| {
            // The same of many processes is one finding.
            if found.iter().all(|known| known.what != what) {
                let evidence = format!("{} has {ours}, {} has {theirs}", place(one), place(other));
                found.push(Finding::new(
                    what,
                    evidence,
                    "give all processes of a service the same, unless a rollout is under way",
                ));
            }
        };
        if one.version != other.version {
            tell("processes of one service have different versions".into(), &one.version, &other.version);
        }
        for (name, value) in &one.settings {
            if let Some(theirs) = other.settings.get(name).filter(|theirs| *theirs != value) {
                tell(format!("the setting `{name}` differs between processes of one service"), value, theirs);
            }
        }
    }
    found
}

fn place(process: &ProcessInfo) -> String {
    format!("{} (process {})", process.host, process.pid)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_programs_that_have_nothing_in_common_are_strangers() {
        let process = |program: &str, package: &str, handler: &str, queue: &str| ProcessInfo {
            services: vec!["default".into()],
            program: program.into(),
            packages: Some(package)
                .filter(|package| !package.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect(),
            answers: vec![format!("handler:{handler}")],
            consumers: vec![queue.into()],
            ..ProcessInfo::this(Uuid::new_v4())
        };
        let shop = process("shop", "shop", "ship", "books");
        let told = |other: &ProcessInfo| strangers(&[&shop, other]);
        let billing = process("billing", "billing", "bill", "invoices");
        let found = told(&billing).expect("two services");
        assert!(
            found.what.contains("`default`") && found.evidence.contains("`billing` (handlers of billing)")
        );
        assert!(found.remedy.contains("MessengerBuilder::service"));
        for same in [
            // Another version, whose file has another name.
            process("shop-2.0", "shop", "ship", "books"),
            // Parts of one program.
            process("shop", "web", "bill", "invoices"),
            process("shop-worker", "shop", "bill", "invoices"),
            // Nobody knows what its package is.
            process("billing", "", "bill", "invoices"),
            // They share a handler, or a queue.
            process("billing", "billing", "ship", "invoices"),
            process("billing", "billing", "bill", "books"),
            ProcessInfo { services: vec!["billing".into()], ..billing.clone() },
        ] {
            assert_eq!(told(&same), None, "{same:?}");
        }
    }

    #[test]
    fn what_differs_within_a_service_is_told_once() {
        let process = |service: &str, lease: &str| ProcessInfo {
            host: "host".into(),
            services: vec![service.into()],
            settings: [("lease".to_owned(), lease.to_owned())].into(),
            ..ProcessInfo::this(Uuid::new_v4())
        };
        let old = ProcessInfo { version: "0.0.1".into(), ..process("orders", "5s") };
        let all = [
            process("orders", "5s"),
            process("billing", "9s"),
            process("orders", "7s"),
            process("orders", "8s"),
            old,
        ];
        let found = differing(&all.iter().collect::<Vec<_>>());
        let whats: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "the setting `lease` differs between processes of one service",
                "processes of one service have different versions"
            ]
        );
        assert!(
            found[0].evidence.contains("has 7s") && found[0].evidence.contains("has 5s"),
            "{}",
            found[0].evidence
        );
        assert!(differing(&[&all[0], &all[1]]).is_empty());
    }
}
