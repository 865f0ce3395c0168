//! The `#[object]` attribute of the `holdfast` crate, which re-exports it; use it from there.
//!
//! It checks what it is put on and writes the component's exports. Everything that does not depend on the struct's name
//! lives in `holdfast::__private`, so that generated code stays small and its errors point at the user's own lines.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Item, ItemStruct, Token};

/// See `holdfast::object`.
#[proc_macro_attribute]
pub fn object(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    // The item stays even when it is refused: otherwise every use of its name would be one more error.
    let generated = exports(arguments.into(), item.clone()).unwrap_or_else(Error::into_compile_error);
    quote! { #item #generated }.into()
}

fn exports(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Declared { alarm, websocket, later, calls } = parse(arguments)?;
    let object = check(item)?;
    let name = &object.ident;
    // Spanned so that "has no `impl ..`" points at the struct.
    let init = quote_spanned! { name.span() => ::holdfast::__private::init::<#name> };
    let alarm = alarm.then(|| alarm_export(name));
    let websocket = websocket.then(|| websocket_export(name));
    let later = later.then(|| later_export(name));
    let calls = calls.then(|| calls_export(name));
    Ok(quote! {
        // Lives at the root of the crate wherever it is written, so a second one is an error that says its name.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! only_one_object_per_crate { () => {}; }

        const _: () = {
            use ::holdfast::__private::{self as __holdfast, bindings::exports::holdfast::object as __exports};

            // `used`, because natively nothing calls the exports and the whole class would be dead code.
            #[used]
            static INIT: fn() -> ::core::result::Result<(), __holdfast::Failure> = #init;

            struct __Exports;

            impl __exports::init_handler::Guest for __Exports {
                fn init() -> ::core::result::Result<(), __holdfast::Failure> {
                    INIT()
                }
            }

            impl __exports::fetch_handler::Guest for __Exports {
                fn fetch(
                    request: __exports::fetch_handler::Request,
                ) -> ::core::result::Result<__exports::fetch_handler::Response, __holdfast::Failure> {
                    __holdfast::fetch(request)
                }
            }

            // The names of a component's exports are not symbols that a native linker takes.
            #[cfg(target_family = "wasm")]
            __holdfast::bindings::export!(__Exports with_types_in __holdfast::bindings);

            #alarm
            #websocket
            #later
            #calls
        };
    })
}

/// The part of a class that handles alarms; it stands beside the other exports.
fn alarm_export(name: &Ident) -> TokenStream {
    let alarm = quote_spanned! { name.span() => ::holdfast::__private::alarm::<#name> };
    quote! {
        use __holdfast::bindings::with_alarm::{self as __with_alarm, exports::holdfast::object::alarm_handler as __alarm};

        impl __holdfast::declared::Alarm for #name {}

        #[used]
        static ALARM: fn(__alarm::AlarmInfo) -> ::core::result::Result<(), __holdfast::Failure> = #alarm;

        impl __alarm::Guest for __Exports {
            fn alarm(info: __alarm::AlarmInfo) -> ::core::result::Result<(), __holdfast::Failure> {
                ALARM(info)
            }
        }

        #[cfg(target_family = "wasm")]
        __with_alarm::export!(__Exports with_types_in __with_alarm);
    }
}

/// The part of a class that does late work.
fn later_export(name: &Ident) -> TokenStream {
    let resume = quote_spanned! { name.span() => ::holdfast::__private::resume::<#name> };
    let result = quote! { ::core::result::Result<(), __holdfast::Failure> };
    quote! {
        use __holdfast::bindings::with_later::{self as __with_later, exports::holdfast::object::later_handler as __later};

        impl __holdfast::declared::Later for #name {}

        #[used]
        static RESUME: fn(::std::vec::Vec<u64>) -> #result = #resume;

        impl __later::Guest for __Exports {
            fn resume(tokens: ::std::vec::Vec<u64>) -> #result {
                RESUME(tokens)
            }
        }

        #[cfg(target_family = "wasm")]
        __with_later::export!(__Exports with_types_in __with_later);
    }
}

/// The part of a class that is called by other objects.
fn calls_export(name: &Ident) -> TokenStream {
    let call = quote_spanned! { name.span() => ::holdfast::__private::call::<#name> };
    let result = quote! { ::core::result::Result<__calls::Answer, __holdfast::Failure> };
    let (method, arguments) = (quote! { ::std::string::String }, quote! { ::std::vec::Vec<u8> });
    quote! {
        use __holdfast::bindings::with_calls::{self as __with_calls, exports::holdfast::object::call_handler as __calls};

        impl __holdfast::declared::Calls for #name {}

        #[used]
        static CALL: fn(#method, #arguments) -> #result = #call;

        impl __calls::Guest for __Exports {
            fn call(method: #method, arguments: #arguments) -> #result {
                CALL(method, arguments)
            }
        }

        #[cfg(target_family = "wasm")]
        __with_calls::export!(__Exports with_types_in __with_calls);
    }
}

/// The part of a class that listens to WebSockets.
fn websocket_export(name: &Ident) -> TokenStream {
    let event = quote_spanned! { name.span() => ::holdfast::__private::socket_event::<#name> };
    let result = quote! { ::core::result::Result<(), __holdfast::Failure> };
    quote! {
        use __holdfast::bindings::with_websocket::{
            self as __with_websocket, exports::holdfast::object::websocket_handler as __websocket,
        };

        impl __holdfast::declared::WebSocket for #name {}

        #[used]
        static EVENT: fn(u64, __holdfast::SocketEvent) -> #result = #event;

        impl __websocket::Guest for __Exports {
            fn message(socket: u64, message: __websocket::SocketMessage) -> #result {
                EVENT(socket, __holdfast::SocketEvent::Message(message))
            }

            fn close(socket: u64, code: u16, reason: ::std::string::String, was_clean: bool) -> #result {
                EVENT(socket, __holdfast::SocketEvent::Close(code, reason, was_clean))
            }

            fn error(socket: u64, text: ::std::string::String) -> #result {
                EVENT(socket, __holdfast::SocketEvent::Error(text))
            }
        }

        #[cfg(target_family = "wasm")]
        __with_websocket::export!(__Exports with_types_in __with_websocket);
    }
}

/// What the attribute says that the class has.
#[derive(Default)]
struct Declared {
    alarm: bool,
    websocket: bool,
    later: bool,
    calls: bool,
}

fn parse(arguments: TokenStream) -> syn::Result<Declared> {
    let mut declared = Declared::default();
    let refusal = |arguments| {
        Error::new_spanned(
            arguments,
            "#[object] takes the handlers that a class has beside `fetch`, which can be `alarm`, `websocket`, `later` and `calls`; its name is \
             `class = \"...\"` in holdfast.toml",
        )
    };
    let handlers = Punctuated::<Ident, Token![,]>::parse_terminated;
    for handler in handlers.parse2(arguments.clone()).map_err(|_| refusal(arguments))? {
        match handler.to_string().as_str() {
            "alarm" => declared.alarm = true,
            "websocket" => declared.websocket = true,
            "later" => declared.later = true,
            "calls" => declared.calls = true,
            _ => return Err(refusal(handler.into_token_stream())),
        }
    }
    Ok(declared)
}

fn check(item: TokenStream) -> syn::Result<ItemStruct> {
    let object = match syn::parse2(item)? {
        Item::Struct(object) => object,
        other => {
            return Err(Error::new_spanned(
                other,
                "#[object] goes on a struct: its fields are what the object keeps in memory between turns",
            ));
        }
    };
    if !object.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &object.generics,
            "an #[object] struct has no generic parameters: the host creates it, and nobody would choose them",
        ));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: TokenStream, item: TokenStream) -> String {
        exports(arguments, item).unwrap_err().to_string()
    }

    #[test]
    fn a_plain_struct_of_any_shape_is_taken() {
        for item in [
            quote!(
                struct A;
            ),
            quote!(
                struct A(u8);
            ),
            quote!(
                pub struct A {
                    x: u8,
                }
            ),
        ] {
            exports(quote!(), item).unwrap();
        }
    }

    #[test]
    fn handlers_are_exported_if_the_attribute_says_so() {
        let written = |arguments| {
            exports(
                arguments,
                quote!(
                    struct A;
                ),
            )
            .unwrap()
            .to_string()
        };
        let has = |arguments| {
            let written = written(arguments);
            (written.contains("AlarmInfo"), written.contains("websocket_handler"), written.contains("later_handler"))
        };
        assert_eq!(has(quote!()), (false, false, false));
        assert_eq!(has(quote!(alarm)), (true, false, false));
        assert_eq!(has(quote!(alarm,)), (true, false, false));
        assert_eq!(has(quote!(websocket)), (false, true, false));
        assert_eq!(has(quote!(websocket, alarm)), (true, true, false));
        assert_eq!(has(quote!(later)), (false, false, true));
        assert!(written(quote!(calls)).contains("call_handler") && !written(quote!()).contains("call_handler"));
    }

    #[test]
    fn what_is_refused_says_why() {
        assert!(
            refusal(
                quote!(name = "a"),
                quote!(
                    struct A;
                )
            )
            .contains("takes the handlers")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    enum A {}
                )
            )
            .contains("goes on a struct")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    fn a() {}
                )
            )
            .contains("goes on a struct")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    struct A<T>(T);
                )
            )
            .contains("no generic parameters")
        );
        assert!(
            refusal(
                quote!(),
                quote!(
                    struct A<'a>(&'a str);
                )
            )
            .contains("no generic parameters")
        );
    }
}
