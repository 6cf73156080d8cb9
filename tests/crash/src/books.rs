//! The books that must agree: what was done, what was booked for it, what callers were told, and
//! what became of the messages.

use std::collections::HashMap;
use std::fmt;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::caller_log::{self, Answer};
use crate::database::with_pool;
use crate::history;
use crate::place::Place;

/// The tables of both sides. None forbids what must not happen, but one: `message_id` lets the
/// check-back handler be exact.
pub(crate) async fn create_tables(place: &Place) -> anyhow::Result<()> {
    let business = place.business().await?;
    let id = business.id();
    // Without `parts`, it is the handler's word that nothing was done, and nothing will be.
    let done = format!(
        "CREATE TABLE done (message_id {id} NOT NULL PRIMARY KEY, action {id} NOT NULL, parts BIGINT, content TEXT)"
    );
    business.run(&done).await?;
    let booked = format!("CREATE TABLE booked (action {id} NOT NULL, part BIGINT NOT NULL, content TEXT)");
    place.accounting().await?.run(&booked).await
}

/// Forgets everything that was compared.
pub(crate) async fn forget(place: &Place) -> anyhow::Result<()> {
    place.business().await?.run("DELETE FROM done").await?;
    place.accounting().await?.run("DELETE FROM booked").await?;
    place.store().await?.run("DELETE FROM history").await?;
    caller_log::forget(&place.directory)
}

/// How the books compare.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) actions: usize,
    /// Consumed more than once: allowed, and counted.
    pub(crate) duplicates: usize,
    /// Done, and not booked.
    pub(crate) losses: Vec<String>,
    /// Booked, and not done.
    pub(crate) phantoms: Vec<String>,
    /// Booked more than once.
    pub(crate) doubles: Vec<String>,
    /// Booked with other contents.
    pub(crate) altered: Vec<String>,
    /// A caller was told that it is done, and it is not; or the other way round.
    pub(crate) lies: Vec<String>,
    /// A call whose body was alive was decided by somebody else.
    pub(crate) robbed: Vec<String>,
    /// A message went where the diagram has no arrow.
    pub(crate) illegal: Vec<String>,
    /// A message waits for ever.
    pub(crate) stuck: Vec<String>,
    /// The log shows the servers' password.
    pub(crate) leaks: Vec<String>,
}

/// By action: how many parts, and the contents.
pub(crate) type Done = HashMap<Uuid, (i64, String)>;
/// By action and part: the contents, each time it was booked.
type Booked = HashMap<(Uuid, i64), Vec<String>>;

impl Comparison {
    pub(crate) async fn make(place: &Place) -> anyhow::Result<Self> {
        let (done, booked) = (done(place).await?, booked(place).await?);
        let mut it = Self {
            actions: done.len(),
            duplicates: caller_log::duplicates(&place.directory)?,
            illegal: history::illegal(&place.store().await?).await?,
            stuck: stuck(place).await?,
            leaks: caller_log::leaks(&place.directory)?,
            ..Self::default()
        };
        for (action, (parts, content)) in &done {
            for part in 0..*parts {
                match booked.get(&(*action, part)).map(Vec::as_slice) {
                    None => it.losses.push(format!("{action} part {part}")),
                    Some(booked) if booked.len() > 1 => it.doubles.push(format!("{action} part {part}")),
                    Some(booked) if booked.iter().any(|booked| booked != content) => {
                        it.altered.push(format!("{action} part {part}"));
                    }
                    Some(_) => {}
                }
            }
        }
        let is_phantom =
            |(action, part): &&(Uuid, i64)| done.get(action).is_none_or(|(parts, _)| part >= parts);
        it.phantoms =
            booked.keys().filter(is_phantom).map(|(action, part)| format!("{action} part {part}")).collect();
        for (action, answer) in caller_log::told(&place.directory)? {
            match answer {
                Answer::Preempted => it.robbed.push(action.to_string()),
                Answer::Done if !done.contains_key(&action) => it.lies.push(format!("{action}: done")),
                Answer::Refused if done.contains_key(&action) => it.lies.push(format!("{action}: refused")),
                Answer::Done | Answer::Refused => {}
            }
        }
        Ok(it)
    }

    /// What must be empty, with its name.
    pub(crate) fn findings(&self) -> [(&'static str, &[String]); 9] {
        [
            ("losses", &self.losses),
            ("phantoms", &self.phantoms),
            ("double effects", &self.doubles),
            ("altered", &self.altered),
            ("lies", &self.lies),
            ("robbed", &self.robbed),
            ("illegal transitions", &self.illegal),
            ("stuck", &self.stuck),
            ("passwords in the log", &self.leaks),
        ]
    }

    pub(crate) fn agree(&self) -> bool {
        self.findings().iter().all(|(_, which)| which.is_empty())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} actions", self.actions)?;
        for (what, which) in self.findings() {
            if let Some(first) = which.first() {
                write!(f, ", {} {what} (first: {first})", which.len())?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn done(place: &Place) -> anyhow::Result<Done> {
    let select = AssertSqlSafe("SELECT action, parts, content FROM done WHERE parts IS NOT NULL".to_owned());
    let business = place.business().await?;
    let rows: Vec<(Uuid, i64, String)> =
        with_pool!(&business, pool => sqlx::query_as(select).fetch_all(pool).await?);
    Ok(rows.into_iter().map(|(action, parts, content)| (action, (parts, content))).collect())
}

async fn booked(place: &Place) -> anyhow::Result<Booked> {
    let select = AssertSqlSafe("SELECT action, part, content FROM booked".to_owned());
    let accounting = place.accounting().await?;
    let rows: Vec<(Uuid, i64, String)> =
        with_pool!(&accounting, pool => sqlx::query_as(select).fetch_all(pool).await?);
    let mut booked = Booked::new();
    for (action, part, content) in rows {
        booked.entry((action, part)).or_default().push(content);
    }
    Ok(booked)
}

/// Messages that are not finished, and those that nobody could handle.
async fn stuck(place: &Place) -> anyhow::Result<Vec<String>> {
    let select = AssertSqlSafe(
        "SELECT id, state, reason FROM tm_message WHERE state NOT IN (2, 3) ORDER BY id LIMIT 1000"
            .to_owned(),
    );
    let store = place.store().await?;
    let rows: Vec<(Uuid, i64, Option<String>)> =
        with_pool!(&store, pool => sqlx::query_as(select).fetch_all(pool).await?);
    let text = |(id, state, why): (Uuid, i64, Option<String>)| {
        format!("{id} in state {state}: {}", why.as_deref().unwrap_or("no reason"))
    };
    let mut stuck: Vec<_> = rows.into_iter().map(text).collect();
    if let Some(broker) = &place.broker {
        let dead = broker.dead().await?;
        stuck.extend((dead > 0).then(|| format!("{dead} messages in {}.dead", broker.name)));
    }
    Ok(stuck)
}
