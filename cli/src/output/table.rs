//! Tables and CSV.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::text::plain;

/// A table that fits the terminal, if it goes to one.
pub(super) fn table(columns: &[&str], items: &[Value], write: impl Fn(&str, &str) -> String) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|column| column.replace('_', " ")));
    for item in items {
        table.add_row(columns.iter().map(|column| write(column, &cell(&item[*column]))));
    }
    let lines: Vec<_> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

pub(super) fn csv(columns: &[&str], items: &[Value]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Into memory, which takes everything.
    let _ = writer.write_record(columns);
    for item in items {
        let _ = writer.write_record(columns.iter().map(|column| cell(&item[*column])));
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A value as a text of one line.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    plain(&text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_wrote_stays_in_its_cell() {
        let items =
            [json!({ "id": "a", "reason": "one\ntwo\u{1b}[31m" }), json!({ "id": "b", "reason": null })];
        let table = table(&["id", "reason"], &items, |_, text| text.to_owned());
        assert_eq!(table, "id  reason\na   one two [31m\nb\n");
        assert_eq!(
            csv(&["id", "reason"], &[json!({ "id": "a", "reason": "say \"no\", twice" })]),
            "id,reason\na,\"say \"\"no\"\", twice\"\n"
        );
    }
}
