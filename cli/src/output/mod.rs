//! How results are written: every one is a value of JSON at first, of which tables and CSV show some fields.

mod stream;
mod table;
mod text;
mod times;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Globals;
use crate::exit::Failure;
pub(crate) use stream::Stream;
use text::lines;
pub(crate) use text::plain;
pub(crate) use times::{TimeStyle, seconds};

/// The version of the JSON's shape: raised when a field is renamed or removed.
const SCHEMA: u32 = 1;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// One value
    Json,
    /// One value on each line
    Jsonl,
    /// Comma-separated values, with a header
    Csv,
    /// Nothing but ids, one on each line: for `-` of other commands
    Ids,
}

/// Writes results.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    columns: Vec<String>,
    time: TimeStyle,
    pub(crate) language: transactional_message::Language,
}

impl Output {
    pub(crate) fn new(globals: &Globals) -> Self {
        let language = match globals.language {
            crate::arguments::Language::En => transactional_message::Language::English,
            crate::arguments::Language::Zh => transactional_message::Language::Chinese,
        };
        Self { format: globals.format, columns: globals.columns.clone(), time: globals.time, language }
    }

    /// Whether people read it.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// A time for people.
    pub(crate) fn time(&self, time: SystemTime) -> String {
        self.time.write(time, self.language)
    }

    /// Writes a list under its name. `shown` are a table's columns; `rest` is what JSON has beside the list.
    pub(crate) fn list<T: Serialize>(
        &self,
        name: &str,
        shown: &[&str],
        items: &[T],
        rest: Value,
    ) -> Result<(), Failure> {
        let items: Vec<Value> = items.iter().map(value).collect();
        let shown: Vec<&str> = match self.columns.as_slice() {
            [] => shown.to_vec(),
            columns => columns.iter().map(String::as_str).collect(),
        };
        self.known(&shown, &items)?;
        match self.format {
            Format::Table => write(&table::table(&shown, &items, |column, text| {
                self.time.rewrite(column, text, self.language)
            })),
            Format::Json => {
                let mut all = json!({ "schema": SCHEMA, name: items });
                merge(&mut all, rest);
                pretty(&all)
            }
            Format::Jsonl => items.iter().try_for_each(|item| write(&format!("{item}\n"))),
            Format::Csv => write(&table::csv(&shown, &items)),
            Format::Ids => items.iter().filter_map(id).try_for_each(|id| write(&format!("{id}\n"))),
        }
    }

    /// Writes one value; `text` is how people read it.
    pub(crate) fn one<T: Serialize>(&self, item: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let item = value(item);
        match self.format {
            Format::Table => write(&lines(&text())),
            Format::Json => {
                let mut all = json!({ "schema": SCHEMA });
                merge(&mut all, item);
                pretty(&all)
            }
            Format::Jsonl => write(&format!("{item}\n")),
            Format::Csv => {
                let columns: Vec<&str> =
                    item.as_object().into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
                write(&table::csv(&columns, std::slice::from_ref(&item)))
            }
            Format::Ids => id(&item).map_or(Ok(()), |id| write(&format!("{id}\n"))),
        }
    }

    /// For results of which there may be more than fit into memory.
    pub(crate) fn endless(&self) -> Result<Stream, Failure> {
        match self.format {
            Format::Json => {
                Err(Failure::usage("so many are not written as one value: --format jsonl, csv or ids"))
            }
            _ => Ok(Stream::new(self.clone())),
        }
    }

    /// The same, of which people want every column, too.
    pub(crate) fn in_pages(&self) -> Result<Stream, Failure> {
        match self.format {
            Format::Table => Ok(Stream::new(Self { format: Format::Jsonl, ..self.clone() })),
            _ => self.endless(),
        }
    }

    /// For results that are told as soon as they are there, of something that is done meanwhile: `columns` are all that
    /// there are. Errs for others before it is done.
    pub(crate) fn of_actions(&self, columns: &[&str]) -> Result<Stream, Failure> {
        match self.columns.iter().find(|column| !columns.contains(&column.as_str())) {
            Some(unknown) => Err(no_column(unknown, columns)),
            None => Ok(Stream::new(self.clone())),
        }
    }

    /// Errs for a column that there is not.
    fn known(&self, shown: &[&str], items: &[Value]) -> Result<(), Failure> {
        let Some(first) = items.first().and_then(Value::as_object).filter(|_| !self.columns.is_empty())
        else {
            return Ok(());
        };
        match shown.iter().find(|column| !first.contains_key(**column)) {
            Some(unknown) => {
                let known: Vec<_> = first.keys().map(String::as_str).collect();
                Err(no_column(unknown, &known))
            }
            None => Ok(()),
        }
    }
}

fn no_column(unknown: &str, known: &[&str]) -> Failure {
    Failure::usage(format!("there is no column `{unknown}`, but: {}", known.join(", ")))
}

fn value<T: Serialize>(item: &T) -> Value {
    serde_json::to_value(item).unwrap_or(Value::Null)
}

fn merge(all: &mut Value, rest: Value) {
    if let (Value::Object(all), Value::Object(rest)) = (all, rest) {
        all.extend(rest);
    }
}

/// The id of an item, or of the message in it.
fn id(item: &Value) -> Option<&str> {
    item.get("id").or_else(|| item.get("message")?.get("id"))?.as_str()
}

fn pretty(value: &Value) -> Result<(), Failure> {
    write(&format!("{value:#}\n"))
}

/// Nobody reads the results any more. No failure: what was told to be done is done all the same.
static CLOSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes a text to the standard output.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => CLOSED.store(true, Ordering::Relaxed),
        written => written?,
    }
    Ok(())
}

/// Says something beside the results.
pub(crate) fn say(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(io::stderr().lock(), "{}", lines(text));
    }
}

/// Asks a question on the terminal. Errs where there is none. Connections are kept alive meanwhile, however long the answer
/// takes.
pub(crate) async fn ask(question: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question}\nthere is no terminal to ask this: say --yes if it is meant, and in production --context with it"
        )));
    }
    let _ = write!(io::stderr().lock(), "{question} ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer.trim().to_owned())
    });
    Ok(answer.await.map_err(io::Error::other)??)
}
