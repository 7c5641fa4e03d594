//! The macro that makes a module of an impl block. Used through `blvm-sdk`, whose documentation has the examples.
//!
//! It knows no event and no field: handlers take fields by name from the messages' own types, so that the compiler says what
//! an event has.
#![forbid(unsafe_code)]

mod attributes;
mod command;
mod docs;
mod event;
mod handler;
mod mempool;
mod method;
mod missed;
mod options;
mod timer;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, Type, parse_macro_input};

use options::Options;

/// Makes a module of an impl block: `fn new` builds it, and methods with these attributes are its handlers. Implements
/// `blvm_sdk::module::Module`.
///
/// | attribute | the method takes, besides `&self` | and answers |
/// |---|---|---|
/// | `#[on(EVENT)]` | fields of the event by name (docs/events.md); `body`, the message's body; `sequence: u64`; `message: &Message<'_, EVENT>` | nothing, or a `Result` |
/// | `#[on(EVENT, concurrent)]` | the same, of a copy: as many at once as `concurrency`, in any order | the same |
/// | `#[on_mempool]` | `mempool: &MempoolView`, whole and as it is now, whenever it has changed; beside it no handler of a message of `mempool` | the same |
/// | `#[on_missed]`, `#[on_missed(TOPIC)]` | `topic: &str`, `messages: u64` | the same |
/// | `#[rpc]`, `#[rpc(name = "NAME")]` | parameters by name, each read with serde; an `Option` may be left out | what serde can write, or a `Result` of it |
/// | `#[command]`, `#[command(name = "NAME")]` | arguments: `bool` is `--flag`, `Option<T>` is `--option VALUE`, others are given by their place | `String`, `()`, `CommandOutput`, or a `Result` of one |
/// | `#[every("10s")]`, `#[every(Self::interval)]` | nothing; `interval` takes `&self` and answers a `Duration`, once, when the module is built | nothing, or a `Result` |
///
/// All of them may be `async`: the thread that calls waits for them, so that the order stays. Doc comments of methods, commands and
/// of a command's parameters are what the operator reads. `new` takes `start: Start` or nothing, and answers `Self` or a `Result`.
///
/// | option | means |
/// |---|---|
/// | `config = TYPE` | what the configuration is read into, with serde; without it a module has none |
/// | `name = "NAME"` | its name as in `module.toml`; without it that of the package |
/// | `concurrency = 16` | how many concurrent handlers run at once |
/// | `wait = Park` | how its threads wait: `Spin`, `Park`, `SpinThenPark` |
#[proc_macro_attribute]
pub fn module(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let mut item = parse_macro_input!(item as ItemImpl);
    let (expanded, errors) = expand(&options, &mut item);
    let errors = errors.into_iter().map(|error| error.to_compile_error());
    quote! { #item #expanded #(#errors)* }.into()
}

/// What is added to the impl block, which loses the attributes of its handlers; and all that is wrong with it.
fn expand(options: &Options, item: &mut ItemImpl) -> (Tokens, Vec<Error>) {
    let mut errors = Vec::new();
    if let Some((_, of, _)) = &item.trait_ {
        errors.push(Error::new_spanned(
            of,
            "`#[module]` stands on the module's own impl block, not on that of a trait",
        ));
        return (Tokens::new(), errors);
    }
    if !item.generics.params.is_empty() {
        errors.push(Error::new_spanned(&item.generics, "a module has no generic parameters"));
        return (Tokens::new(), errors);
    }
    let mut handlers = Vec::new();
    let mut new = None;
    for part in &mut item.items {
        let ImplItem::Fn(method) = part else { continue };
        if method.sig.ident == "new" {
            new = Some(method.sig.clone());
        }
        match handler::handlers(method) {
            Ok(found) => handlers.extend(found),
            Err(error) => errors.extend(error),
        }
    }
    let name = &item.self_ty;
    let new = match new.map(|new| options::call_new(&new)) {
        Some(Ok(call)) => call,
        Some(Err(error)) => {
            errors.push(error);
            quote! { ::core::unreachable!() }
        }
        None => {
            let message = "a module is built by `fn new(start: Start) -> Result<Self, Error>`: it is missing";
            errors.push(Error::new_spanned(name, message));
            quote! { ::core::unreachable!() }
        }
    };
    (implementation(options, name, &new, &handlers), errors)
}

fn implementation(options: &Options, name: &Type, new: &Tokens, handlers: &[Tokens]) -> Tokens {
    let constants = options.constants();
    let settings = options.settings();
    quote! {
        #[automatically_derived]
        impl ::blvm_sdk::module::Module for #name {
            #constants
            type Settings = #settings;

            fn new(
                start: ::blvm_sdk::module::Start<Self::Settings>,
            ) -> ::core::result::Result<Self, ::blvm_sdk::module::Error> {
                #new
            }

            fn handlers(handlers: &mut ::blvm_sdk::module::Handlers<Self>) {
                let _ = &handlers;
                #(#handlers)*
            }
        }
    }
}
