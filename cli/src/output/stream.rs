//! Results that are written while more of them come.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Format, Output, SCHEMA, id, merge, table, value, write};
use crate::exit::Failure;

/// Where they go.
#[derive(Debug)]
pub(crate) struct Stream {
    output: Output,
    /// The header of CSV was written.
    begun: bool,
    /// What JSON has at the end.
    items: Vec<Value>,
}

impl Stream {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, begun: false, items: Vec::new() }
    }

    pub(crate) fn is_for_people(&self) -> bool {
        self.output.is_for_people()
    }

    /// Whether nothing but ids is written.
    pub(crate) fn is_of_ids(&self) -> bool {
        self.output.format == Format::Ids
    }

    /// Writes some.
    pub(crate) fn page<T: Serialize>(&mut self, shown: &[&str], items: &[T]) -> Result<(), Failure> {
        items.iter().try_for_each(|item| self.item(shown, item, String::new))
    }

    /// Writes one; `text` is how people read it, a line if there is any.
    pub(crate) fn item<T: Serialize>(
        &mut self,
        shown: &[&str],
        item: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let item = value(item);
        let shown: Vec<&str> = match self.output.columns.as_slice() {
            [] => shown.to_vec(),
            columns => columns.iter().map(String::as_str).collect(),
        };
        self.output.known(&shown, std::slice::from_ref(&item))?;
        match self.output.format {
            Format::Table => match text() {
                text if text.is_empty() => Ok(()),
                text => write(&format!("{text}\n")),
            },
            Format::Json => {
                self.items.push(item);
                Ok(())
            }
            Format::Jsonl => write(&format!("{item}\n")),
            Format::Csv => {
                let csv = table::csv(&shown, std::slice::from_ref(&item));
                let header = csv.find('\n').map_or(0, |end| end + 1);
                let from = if self.begun { header } else { 0 };
                self.begun = true;
                write(&csv[from..])
            }
            Format::Ids => id(&item).map_or(Ok(()), |id| write(&format!("{id}\n"))),
        }
    }

    /// No more come.
    pub(crate) fn ends(self) -> Result<(), Failure> {
        self.ends_with(Value::Null)
    }

    /// No more come; `rest` is what JSON has beside them.
    pub(crate) fn ends_with(self, rest: Value) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => {
                let mut all = json!({ "schema": SCHEMA, "messages": self.items });
                merge(&mut all, rest);
                write(&format!("{all:#}\n"))
            }
            _ => Ok(()),
        }
    }
}
