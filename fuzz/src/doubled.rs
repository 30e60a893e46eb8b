//! Writing JSON that a strict reader must refuse.

use serde_json::Value;

/// How many objects of `value` have a key to write twice.
fn objects(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(objects).sum(),
        Value::Object(map) => usize::from(!map.is_empty()) + map.values().map(objects).sum::<usize>(),
        _ => 0,
    }
}

/// The text of `value` in which one object has its first key twice. Which object, `choice` decides; none where there is none.
pub(crate) fn with_a_key_twice(value: &Value, choice: usize) -> Option<String> {
    let count = objects(value);
    let mut left = choice.checked_rem(count)?;
    let mut text = String::new();
    write(value, &mut left, &mut text);
    Some(text)
}

fn write(value: &Value, left: &mut usize, text: &mut String) {
    match value {
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write(value, left, text);
            }
            text.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            let is_the_one = *left == 0;
            // What has been written cannot be chosen again.
            *left = left.wrapping_sub(1);
            let twice = map.iter().take(usize::from(is_the_one));
            text.push('{');
            for (index, (key, value)) in twice.chain(map).enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, left, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_has_a_key_twice() {
        let value = serde_json::json!({"a": [{"b": 1, "c": {}}]});
        assert_eq!(with_a_key_twice(&value, 0).as_deref(), Some(r#"{"a":[{"b":1,"c":{}}],"a":[{"b":1,"c":{}}]}"#));
        assert_eq!(with_a_key_twice(&value, 3).as_deref(), Some(r#"{"a":[{"b":1,"b":1,"c":{}}]}"#));
        assert_eq!(with_a_key_twice(&serde_json::json!([{}, 1]), 0), None);
    }
}
