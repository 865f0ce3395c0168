//! Converts core modules to components.
//!
//! A core module names its imports and exports as the canonical ABI does (`holdfast:object/key-value@0.2.0` `get`,
//! `holdfast:object/fetch-handler@0.2.0#fetch`). Its world is derived from these names: it may import all of the
//! contract, of which only the used parts stay, and exports the handlers that it has. An adapter translates its imports
//! of WASI preview 1; the adapter keeps the memory that it takes from the module's `cabi_realloc_adapter`. Debug
//! information is removed, except names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use crate::cli::project::Project;
use crate::cli::sdk::WIT;

/// The prefix of the contract's exports.
const PACKAGE: &str = "holdfast:object/";

/// Converts the core module in this file, written by a compiler, to the project's component, and returns the
/// component's file.
pub fn of_file(project: &Project, module: &Path) -> anyhow::Result<PathBuf> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    project.write_component(&of_core_module(module)?)
}

/// Converts a core module to a component. An error is the module's fault: it violates the contract.
pub fn of_core_module(module: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let no_module = "the compiler's output is not a WebAssembly module";
    let handlers = handlers(&module).context(no_module)?;
    let mut module = without_debug_information(&module).context(no_module)?;
    let mut resolve = Resolve::default();
    let mut contract = SourceMap::new();
    for file in WIT.files() {
        contract.push_str(&file.path().to_string_lossy(), file.contents_utf8().expect("the contract is text"));
    }
    let contract = contract.parse().map_err(|(_, error)| error).expect("the contract is sound");
    resolve.push_group(contract).expect("the contract needs no other package");
    let exports: String = handlers.iter().map(|handler| format!("export {handler};")).collect();
    let world = format!("package holdfast:built; world class {{ include holdfast:object/imports@0.2.0; {exports} }}");
    let package =
        resolve.push_source("built.wit", &world).context("it exports an interface that is not in the contract")?;
    let world = resolve.select_world(&[package], Some("class")).expect("it was just written");

    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
        .context("the module violates the contract")
}

/// Removes the sections of DWARF, which are most of a small module and which the host does not read.
fn without_debug_information(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = wasm_encoder::Module::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let payload = payload?;
        let is_debug =
            matches!(&payload, wasmparser::Payload::CustomSection(section) if section.name().starts_with(".debug_"));
        if let Some((id, range)) = payload.as_section().filter(|_| !is_debug) {
            kept.section(&wasm_encoder::RawSection { id, data: &module[range.start as usize..range.end as usize] });
        }
    }
    Ok(kept.finish())
}

/// Returns the interfaces of the contract of which a core module exports functions.
fn handlers(module: &[u8]) -> anyhow::Result<BTreeSet<String>> {
    let mut handlers = BTreeSet::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::ExportSection(exports) = payload? {
            for export in exports {
                let name = export?.name;
                let interface = name.split_once('#').map(|(interface, _)| interface);
                handlers.extend(interface.filter(|name| name.starts_with(PACKAGE)).map(str::to_owned));
            }
        }
    }
    Ok(handlers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that answers every request without reading it.
    const FETCH: &str = r#"(module
        (memory (export "memory") 1)
        (global $free (mut i32) (i32.const 1024))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $free) (global.set $free (i32.add (global.get $free) (local.get 3))))
        (func (export "holdfast:object/fetch-handler@0.2.0#fetch") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
            (i32.store16 (i32.const 4) (i32.const 204)) (i32.const 0)))"#;

    #[test]
    fn the_world_is_what_the_module_has() {
        let component = of_core_module(wat::parse_str(FETCH).unwrap()).unwrap();
        let shown = wit_component::decode(&component).unwrap();
        let wit_component::DecodedWasm::Component(resolve, world) = shown else { panic!("it is no component") };
        let names = |items: &wit_parser::IndexMap<_, _>| {
            items.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
        };
        let world = &resolve.worlds[world];
        assert_eq!(names(&world.exports), ["holdfast:object/fetch-handler@0.2.0"]);
        let used = ["holdfast:object/types@0.2.0", "holdfast:object/http-types@0.2.0"];
        assert_eq!(names(&world.imports), used, "nothing that it does not use");
    }

    #[test]
    fn of_debug_information_only_names_stay() {
        let named = FETCH.replace("(func (export \"holdfast", "(func $answers (export \"holdfast");
        let custom = r#"(@custom ".debug_info" (before data) "secret")"#;
        let with = format!("{}{custom})", named.strip_suffix(')').unwrap());
        let (with, without) = (wat::parse_str(with).unwrap(), wat::parse_str(named).unwrap());
        assert!(with.windows(6).any(|bytes| bytes == b"secret"), "it was there");
        let component = of_core_module(with).unwrap();
        assert_eq!(component, of_core_module(without).unwrap());
        assert!(component.windows(7).any(|bytes| bytes == b"answers"));
    }

    #[test]
    fn what_is_not_in_the_contract_is_said() {
        let error = |text: &str| format!("{:#}", of_core_module(wat::parse_str(text).unwrap()).unwrap_err());
        let other = FETCH.replace("fetch-handler@0.2.0#fetch", "catch-handler@0.2.0#catch");
        assert!(error(&other).contains("catch-handler"), "{}", error(&other));
        let wrong = FETCH.replace("#fetch\") (param i32", "#fetch\") (param");
        assert!(error(&wrong).contains("fetch"), "{}", error(&wrong));
        assert!(of_core_module(b"no wasm".to_vec()).is_err());
    }
}
