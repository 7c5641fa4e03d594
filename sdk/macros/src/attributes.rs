//! The attributes of handlers.

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, LitStr, Meta, Path, Result, Token};

/// What a method is to be called for.
pub enum Trigger {
    On(On),
    /// Of a topic, or of any.
    Missed(Option<Path>),
    /// The mempool has changed.
    Mempool,
    /// Under another name than the method's.
    Rpc(Option<LitStr>),
    Command(Option<LitStr>),
    Every(Interval),
}

/// `"10s"`, or the path of a method that says it.
pub enum Interval {
    Written(LitStr),
    Asked(Path),
}

impl Parse for Interval {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            input.parse().map(Interval::Written)
        } else {
            input.parse().map(Interval::Asked)
        }
    }
}

const WHICH_EVENT: &str = "which event? `#[on(BlockConnected)]`";

/// `#[on(EVENT)]`, `#[on(EVENT, concurrent)]`.
pub struct On {
    pub event: Path,
    pub is_concurrent: bool,
}

impl Parse for On {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(input.error(WHICH_EVENT));
        }
        let event = input.parse()?;
        let mut is_concurrent = false;
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let option: Ident = input.parse()?;
            if option != "concurrent" {
                let message = format!(
                    "`#[on]` takes one event and `concurrent`, not `{option}`; for another event write another `#[on]`"
                );
                return Err(Error::new(option.span(), message));
            }
            is_concurrent = true;
        }
        Ok(On { event, is_concurrent })
    }
}

/// `name = "NAME"`.
struct Named(LitStr);

impl Parse for Named {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key: Ident = input.parse()?;
        if key != "name" {
            return Err(Error::new(key.span(), "the only option is `name = \"NAME\"`"));
        }
        input.parse::<Token![=]>()?;
        let name: LitStr = input.parse()?;
        let value = name.value();
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if value.is_empty() || value.len() > 64 || !value.bytes().all(is_allowed) {
            let message = "such a name has up to 64 lower-case letters, digits, `-` and `_`";
            return Err(Error::new(name.span(), message));
        }
        Ok(Named(name))
    }
}

/// Takes the attributes of handlers out of a method's.
pub fn take(attributes: &mut Vec<Attribute>) -> std::result::Result<Vec<Trigger>, Vec<Error>> {
    let (mut triggers, mut errors) = (Vec::new(), Vec::new());
    attributes.retain(|attribute| {
        let Some(name) = attribute.path().get_ident() else { return true };
        let trigger = match name.to_string().as_str() {
            "on" => match &attribute.meta {
                Meta::List(_) => attribute.parse_args().map(Trigger::On),
                _ => Err(Error::new_spanned(attribute, WHICH_EVENT)),
            },
            "on_mempool" => attribute.meta.require_path_only().map(|_| Trigger::Mempool),
            "on_missed" => optional(attribute).map(Trigger::Missed),
            "rpc" => optional(attribute).map(|named| Trigger::Rpc(named.map(|Named(name)| name))),
            "command" => optional(attribute).map(|named| Trigger::Command(named.map(|Named(name)| name))),
            "every" => attribute.parse_args().map(Trigger::Every).map_err(|_| {
                Error::new_spanned(attribute, "how often? `#[every(\"10s\")]`: a number and ms, s, m or h; or a method that says it: `#[every(Self::interval)]`")
            }),
            _ => return true,
        };
        match trigger {
            Ok(trigger) => triggers.push(trigger),
            Err(error) => errors.push(error),
        }
        false
    });
    if errors.is_empty() { Ok(triggers) } else { Err(errors) }
}

/// What stands in the brackets, if there are any.
fn optional<T: Parse>(attribute: &Attribute) -> Result<Option<T>> {
    match &attribute.meta {
        Meta::Path(_) => Ok(None),
        _ => attribute.parse_args().map(Some),
    }
}
