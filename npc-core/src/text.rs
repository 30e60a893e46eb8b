//! Text from elsewhere, without what could steer a terminal or deceive a reader.

use serde_json::Value;

/// Whether a character is not shown but changes how others are: control characters, and those that turn or hide text
/// (Unicode's `Bidi_Control`, zero-width characters, and tags).
pub fn steers(char: char) -> bool {
    let hidden = matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}');
    let turned = matches!(char, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}');
    char.is_control() || hidden || turned
}

/// One line that can be shown.
pub fn line(text: &str) -> String {
    text.chars().map(|char| if steers(char) { ' ' } else { char }).collect()
}

/// Likewise, keeping its lines.
pub fn lines(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Makes every text in a JSON value, names of fields included, one that can be shown, keeping lines.
pub fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(steers) => *text = lines(text),
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.chars().any(steers)) {
                *fields = std::mem::take(fields).into_iter().map(|(name, value)| (line(&name), value)).collect();
            }
            fields.values_mut().for_each(clean);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let text = "\u{1b}[2J\u{9b}31m\u{202e}Größe\tzero\u{200b}width\u{feff}\u{e0041}";
        assert!(!line(text).chars().any(steers));
        assert!(line(text).contains("Größe zero width"));
        assert_eq!(lines("one\r\ntwo\u{7}"), "one\ntwo ");
    }

    #[test]
    fn a_value_is_cleaned_throughout() {
        let mut value = json!({ "a\u{1b}": ["\u{7}b", { "c": "d\n\u{202e}e" }], "f": 1 });
        clean(&mut value);
        assert_eq!(value, json!({ "a ": [" b", { "c": "d\n e" }], "f": 1 }));
    }
}
