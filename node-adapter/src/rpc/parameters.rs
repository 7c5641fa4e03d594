//! Parameters by name, or in the documented order.

use jsonrpsee_server::types::ErrorObjectOwned;
use serde_json::{Map, Value};

use super::error::{invalid_params, nearest, quoted};
use super::method::{Method, Parameter, ParameterKind};

/// What a call of a method of ours has given, by name. Every value has the type its parameter asks for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// Reads `params` (JSON, absent where the call has none) as `method` documents them.
    pub(super) fn read(method: &Method, params: Option<&str>) -> Result<Self, ErrorObjectOwned> {
        let params = match params.map(serde_json::from_str) {
            None => Value::Null,
            Some(Ok(params)) => params,
            Some(Err(error)) => return Err(invalid_params(format!("params cannot be read: {error}"))),
        };
        let given = match params {
            Value::Null => Map::new(),
            Value::Object(given) => given,
            Value::Array(values) => by_order(method, values)?,
            _ => {
                return Err(invalid_params(format!("params must be an object or a list; {}", usage(method))));
            }
        };
        for (name, value) in &given {
            let parameter = method.parameters.iter().find(|parameter| parameter.name == name);
            match parameter {
                None => return Err(unknown(method, name)),
                Some(parameter) if !parameter.kind.takes(value) => return Err(mistyped(parameter, value)),
                Some(_) => {}
            }
        }
        let missing = method
            .parameters
            .iter()
            .find(|parameter| parameter.is_required && !given.contains_key(parameter.name));
        match missing {
            Some(parameter) => {
                Err(invalid_params(format!("the parameter {} is missing; {}", parameter.name, usage(method))))
            }
            None => Ok(Given(given)),
        }
    }

    /// A text that the method documents; empty where none was given.
    pub(super) fn text(&mut self, name: &str) -> String {
        match self.0.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    /// A list of texts that the method documents; empty where none was given.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(Value::Array(values)) = self.0.remove(name) else { return Vec::new() };
        let text = |value| if let Value::String(text) = value { Some(text) } else { None };
        values.into_iter().filter_map(text).collect()
    }
}

fn by_order(method: &Method, values: Vec<Value>) -> Result<Map<String, Value>, ErrorObjectOwned> {
    if values.len() > method.parameters.len() {
        let (given, known) = (values.len(), method.parameters.len());
        return Err(invalid_params(format!(
            "{given} parameters, at most {known} are known; {}",
            usage(method)
        )));
    }
    let named = method.parameters.iter().zip(values);
    // An absent one in the middle is written null.
    let named = named.filter(|(parameter, value)| parameter.is_required || !value.is_null());
    Ok(named.map(|(parameter, value)| (parameter.name.to_owned(), value)).collect())
}

fn unknown(method: &Method, name: &str) -> ErrorObjectOwned {
    let names = method.parameters.iter().map(|parameter| parameter.name);
    match nearest(name, names) {
        Some(nearest) => {
            invalid_params(format!("there is no parameter {}: did you mean {nearest}?", quoted(name)))
        }
        None => invalid_params(format!("there is no parameter {}; {}", quoted(name), usage(method))),
    }
}

fn mistyped(parameter: &Parameter, value: &Value) -> ErrorObjectOwned {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list of other things",
        Value::Object(_) => "an object",
    };
    invalid_params(format!("the parameter {} must be {}, not {found}", parameter.name, parameter.kind))
}

fn usage(method: &Method) -> String {
    let named = |parameter: &Parameter| {
        let name = parameter.name;
        if parameter.is_required { name.to_owned() } else { format!("[{name}]") }
    };
    let names: Vec<_> = method.parameters.iter().map(named).collect();
    match names[..] {
        [] => format!("{} takes none", method.name),
        _ => format!("{} takes {}", method.name, names.join(", ")),
    }
}

impl ParameterKind {
    fn takes(self, value: &Value) -> bool {
        match self {
            ParameterKind::Text => value.is_string(),
            ParameterKind::Texts => {
                value.as_array().is_some_and(|values| values.iter().all(Value::is_string))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::method::Call;
    use super::*;

    const METHOD: Method = Method {
        name: "paint",
        parameters: &[
            Parameter { name: "wall", kind: ParameterKind::Text, is_required: true, about: "" },
            Parameter { name: "colours", kind: ParameterKind::Texts, is_required: false, about: "" },
        ],
        about: "",
        asks_for: |_| Call::Stop,
    };

    fn read(params: &str) -> Result<(String, Vec<String>), String> {
        let mut given = Given::read(&METHOD, Some(params)).map_err(|error| {
            assert_eq!(error.code(), -32602);
            error.message().to_owned()
        })?;
        Ok((given.text("wall"), given.texts("colours")))
    }

    #[test]
    fn parameters_are_taken_by_name_and_in_order() {
        let north = |colours: &[&str]| {
            Ok(("north".to_owned(), colours.iter().map(|colour| (*colour).to_owned()).collect()))
        };
        assert_eq!(read(r#"{"wall": "north"}"#), north(&[]));
        assert_eq!(read(r#"{"colours": ["red"], "wall": "north"}"#), north(&["red"]));
        assert_eq!(read(r#"["north"]"#), north(&[]));
        assert_eq!(read(r#"["north", null]"#), north(&[]));
        assert_eq!(read(r#"["north", ["red", "blue"]]"#), north(&["red", "blue"]));
    }

    #[test]
    fn every_mistake_names_its_parameter() {
        for (params, said) in [
            ("{}", "wall is missing; paint takes wall, [colours]"),
            ("null", "wall is missing"),
            ("[]", "wall is missing"),
            ("[null]", "wall must be a text, not null"),
            ("7", "an object or a list"),
            (r#"{"wall": 7}"#, "wall must be a text, not a number"),
            (r#"{"wall": "north", "colour": []}"#, "\"colour\": did you mean colours?"),
            (r#"{"wall": "north", "x\ny": 1}"#, "\"x\\ny\"; paint takes"),
            (r#"["north", [1]]"#, "colours must be a list of texts, not a list of other things"),
            (r#"["north", [], 3]"#, "3 parameters, at most 2"),
            ("{", "cannot be read"),
        ] {
            let message = read(params).unwrap_err();
            assert!(message.contains(said), "{params}: {message}");
        }
        let without = Given::read(&METHOD, None).unwrap_err();
        assert!(without.message().contains("wall is missing"));
    }
}
