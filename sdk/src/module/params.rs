//! Parameters of a JSON-RPC method, by name or by place.

use blvm_bus::request::ModuleError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;

/// The parameters that a method was called with.
#[derive(Debug)]
pub struct Params {
    /// Each parameter the method has, with what was given for it.
    values: Vec<(&'static str, Option<Value>)>,
}

impl Params {
    /// Reads `text`: an object, an array, or nothing.
    ///
    /// # Errors
    ///
    /// [`ModuleError::WrongParameters`] names those that there are.
    pub(crate) fn parse(text: &str, names: &'static [&'static str]) -> Result<Self, ModuleError> {
        let given = if text.trim().is_empty() { Value::Null } else { parse(text)? };
        let mut values: Vec<_> = names.iter().map(|name| (*name, None)).collect();
        match given {
            Value::Null => {}
            Value::Object(object) => {
                for (name, value) in object {
                    let Some((_, place)) = values.iter_mut().find(|(known, _)| *known == name) else {
                        return Err(wrong(format!("there is no parameter \"{name}\"{}", listed(names))));
                    };
                    *place = Some(value);
                }
            }
            Value::Array(array) if array.len() > names.len() => {
                let given = array.len();
                return Err(wrong(format!("{given} parameters are too many{}", listed(names))));
            }
            Value::Array(array) => {
                values.iter_mut().zip(array).for_each(|((_, place), value)| *place = Some(value));
            }
            _ => return Err(wrong("parameters are an object or an array".to_owned())),
        }
        Ok(Params { values })
    }

    /// Takes the parameter `name`. One that was not given is `null`, which an `Option` takes.
    ///
    /// # Errors
    ///
    /// [`ModuleError::WrongParameters`] if it is missing or something else.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ModuleError> {
        let place = self.values.iter_mut().find(|(known, _)| *known == name);
        let value = place.and_then(|(_, value)| value.take());
        let is_missing = value.is_none();
        T::deserialize(value.unwrap_or(Value::Null)).map_err(|error| {
            let message = if is_missing {
                format!("the parameter \"{name}\" is missing")
            } else {
                format!("the parameter \"{name}\": {error}")
            };
            wrong(message)
        })
    }
}

fn parse(text: &str) -> Result<Value, ModuleError> {
    serde_json::from_str(text).map_err(|error| wrong(format!("not JSON: {error}")))
}

fn wrong(message: String) -> ModuleError {
    ModuleError::WrongParameters { message }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "; the method has none".to_owned(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

/// What a method of JSON-RPC may answer: anything serde can write, or a `Result` of it.
pub fn answer<T: Serialize>(result: Result<T, Error>) -> Result<String, ModuleError> {
    let result = result.map_err(Error::into_module_error)?;
    serde_json::to_string(&result)
        .map_err(|error| ModuleError::Failed { code: 0, message: format!("the answer is no JSON: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: ModuleError) -> String {
        error.to_string()
    }

    #[test]
    fn parameters_are_taken_by_name_and_by_place() {
        const NAMES: &[&str] = &["level", "verbose"];
        for text in [r#"{"verbose": true, "level": 7}"#, "[7, true]"] {
            let mut params = Params::parse(text, NAMES).unwrap();
            assert_eq!(params.take::<u32>("level").unwrap(), 7);
            assert_eq!(params.take::<Option<bool>>("verbose").unwrap(), Some(true));
        }
        for text in ["", "null", "{}", "[]"] {
            let mut params = Params::parse(text, NAMES).unwrap();
            assert_eq!(params.take::<Option<bool>>("verbose").unwrap(), None);
            let error = params.take::<u32>("level").unwrap_err();
            assert_eq!(message(error), "wrong parameters: the parameter \"level\" is missing");
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        const NAMES: &[&str] = &["level"];
        let cases = [
            (r#"{"levl": 1}"#, "wrong parameters: there is no parameter \"levl\"; there are: level"),
            ("[1, 2]", "wrong parameters: 2 parameters are too many; there are: level"),
            ("7", "wrong parameters: parameters are an object or an array"),
        ];
        for (text, expected) in cases {
            assert_eq!(message(Params::parse(text, NAMES).unwrap_err()), expected);
        }
        assert_eq!(
            message(Params::parse("[1]", &[]).unwrap_err()),
            "wrong parameters: 1 parameters are too many; the method has none"
        );
        let mut params = Params::parse(r#"{"level": "x"}"#, NAMES).unwrap();
        let expected = "wrong parameters: the parameter \"level\": invalid type: string \"x\", expected u32";
        assert_eq!(message(params.take::<u32>("level").unwrap_err()), expected);
        assert!(message(Params::parse("{", NAMES).unwrap_err()).starts_with("wrong parameters: not JSON"));
    }
}
