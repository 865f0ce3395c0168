//! The object that a command is about: one parser for every command.
//!
//! An object is written in one of two forms. A class name has no `/`, so the two cannot be confused.
//!
//! | form | how the name is read |
//! |---|---|
//! | `CLASS/NAME`, `CLASS/@ID` | as in a URL: `%XX` is a special character, `/` ends the name |
//! | `CLASS NAME`, `CLASS @ID` | as `holdfast objects list` prints it: each character stands for itself |
//!
//! `@` and 64 lowercase hex digits are an id. Any other text is a name, also when it begins with `@`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::percent_decode_str;

use super::{path, show};
use crate::base::ClassName;

/// An object, by its class and by its name or id.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The class.
    pub class: ClassName,
    object: Object,
}

#[derive(Debug, Clone, PartialEq)]
enum Object {
    /// With its `@`.
    Id(String),
    /// Without any encoding.
    Name(String),
}

impl Object {
    fn of(text: String) -> Self {
        if path::is_id(&text) { Self::Id(text) } else { Self::Name(text) }
    }
}

impl Target {
    /// Parses the beginning of `words` as an object. Returns it, the path below it (only in the form `CLASS/NAME`, else
    /// empty) and the words that follow.
    fn read<'a>(words: &'a [&'a str]) -> Result<(Self, &'a str, &'a [&'a str]), String> {
        let (first, rest) = words.split_first().ok_or_else(shape)?;
        if let Some((class, below)) = first.strip_prefix('/').unwrap_or(first).split_once('/') {
            let (name, path) = below.split_at(below.find(['/', '?']).unwrap_or(below.len()));
            return Ok((Self::new(class, of_url(name)?)?, path, rest));
        }
        let (name, rest) = rest.split_first().ok_or_else(shape)?;
        Ok((Self::new(first, Object::of((*name).into()))?, "", rest))
    }

    fn new(class: &str, object: Object) -> Result<Self, String> {
        let class = ClassName::parse(class).map_err(|error| error.to_string())?;
        match &object {
            Object::Name(name) if name.is_empty() => Err(shape()),
            _ => Ok(Self { class, object }),
        }
    }

    /// Does the same as `read` for an object without a path below it.
    fn read_whole<'a>(words: &'a [&'a str]) -> Result<(Self, &'a [&'a str]), String> {
        match Self::read(words)? {
            (target, "", rest) => Ok((target, rest)),
            (target, path, _) => Err(format!(
                "`{path}` is a path below the object `{target}`; if it belongs to the name, write `/` as %2F and `?` as %3F, or \
                 write CLASS NAME as two arguments"
            )),
        }
    }

    /// Returns the object as one segment of a URL's path.
    pub fn segment(&self) -> String {
        match &self.object {
            Object::Id(id) => id.clone(),
            Object::Name(name) => path::segment(name),
        }
    }

    /// Returns the object as the query of `GET /v1/logs` expects it.
    pub fn logged_as(&self) -> &str {
        match &self.object {
            Object::Id(text) | Object::Name(text) => text,
        }
    }

    /// Returns the object's path in the admin API.
    pub fn admin_path(&self) -> String {
        format!("/v1/classes/{}/objects/{}", self.class, self.segment())
    }
}

/// Formats for a terminal: characters that it would interpret are escaped.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, show::printable(self.logged_as()))
    }
}

fn shape() -> String {
    "write the object as CLASS/NAME, CLASS/@ID, CLASS NAME or CLASS @ID, for example counter/alice".into()
}

/// Returns the name or id in a segment of a URL.
fn of_url(segment: &str) -> Result<Object, String> {
    if path::is_id(segment) {
        return Ok(Object::Id(segment.into()));
    }
    let is_escape = |text: &str| text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !segment.split('%').skip(1).all(is_escape) {
        return Err(format!("`{segment}` has a `%` without two hex digits; write `%` itself as %25"));
    }
    let name = percent_decode_str(segment).decode_utf8();
    let name = name.map_err(|_| format!("`{segment}` is not UTF-8 after percent-decoding"))?;
    Ok(Object::Name(name.into_owned()))
}

/// The arguments of a command about one object.
pub struct ObjectArg(pub Target);

/// The arguments of a command about one object and one SQL text.
pub struct ObjectAndSql {
    /// The object.
    pub object: Target,
    /// The statements.
    pub sql: String,
}

/// The arguments of a command about one object and one of its methods.
pub struct ObjectAndMethod {
    /// The object.
    pub object: Target,
    /// The method.
    pub method: String,
    /// An array of arguments, or an object of arguments by name.
    pub arguments: serde_json::Value,
}

/// The arguments of a command about one object and one file.
pub struct ObjectAndFile {
    /// The object.
    pub object: Target,
    /// The file.
    pub file: PathBuf,
}

/// The arguments of a request to one object.
pub struct RequestTarget {
    /// The path and query at the data listener.
    pub path: String,
}

/// The arguments of a command about all objects, those of a class, or one.
#[derive(Debug, PartialEq)]
pub enum Scope {
    /// All objects of all classes.
    All,
    /// The objects of a class.
    Class(ClassName),
    /// One object.
    Object(Target),
}

const OBJECT: &str =
    "The object: CLASS/NAME or CLASS/@ID as in a URL (`/` in a name is %2F), or CLASS NAME as it is listed";

impl Words for ObjectArg {
    const NAMES: &[&str] = &["OBJECT"];
    const HELP: &str = OBJECT;

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        let words = texts(words)?;
        let (object, rest) = Target::read_whole(&words)?;
        nothing_more(rest)?;
        Ok(Self(object))
    }
}

impl Words for ObjectAndSql {
    const NAMES: &[&str] = &["OBJECT", "SQL"];
    const HELP: &str = "The object, as CLASS/NAME, CLASS/@ID or CLASS NAME; then one or more statements, of which the last one's rows \
                        are shown";

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        let words = texts(words)?;
        let (object, rest) = Target::read_whole(&words)?;
        let (sql, rest) =
            rest.split_first().ok_or("the statements are missing; quote them, so that they are one argument")?;
        nothing_more(rest)?;
        Ok(Self { object, sql: (*sql).into() })
    }
}

impl Words for ObjectAndMethod {
    const NAMES: &[&str] = &["OBJECT", "METHOD"];
    const HELP: &str = "The object, as CLASS/NAME, CLASS/@ID or CLASS NAME; then the method; then its arguments as JSON, an array or an object \
                        of arguments by name";

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        let words = texts(words)?;
        let (object, rest) = Target::read_whole(&words)?;
        let (method, rest) =
            rest.split_first().ok_or("the method is missing, for example `holdfast call stock/tea left`")?;
        let (arguments, rest) = rest.split_first().map_or(("[]", rest), |(arguments, rest)| (*arguments, rest));
        nothing_more(rest)?;
        let arguments: serde_json::Value =
            serde_json::from_str(arguments).map_err(|error| format!("the arguments are not JSON: {error}"))?;
        if !arguments.is_array() && !arguments.is_object() {
            return Err("write the arguments as an array, for example `[3]`, or as an object by name".into());
        }
        Ok(Self { object, method: (*method).into(), arguments })
    }
}

impl Words for ObjectAndFile {
    const NAMES: &[&str] = &["OBJECT", "FILE"];
    const HELP: &str = "The object, as CLASS/NAME, CLASS/@ID or CLASS NAME; then the SQLite file";

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        // The file's name may be other than UTF-8.
        let (file, before) = words.split_last().ok_or_else(shape)?;
        let before = texts(before)?;
        let (object, rest) = match Target::read_whole(&before) {
            Err(_) if before.len() < 2 && !before.iter().any(|word| word.contains('/')) => {
                return Err(format!("{}; then the file", shape()));
            }
            read => read?,
        };
        nothing_more(rest)?;
        Ok(Self { object, file: file.into() })
    }
}

impl Words for RequestTarget {
    const NAMES: &[&str] = &["CLASS/NAME[/PATH][?QUERY]"];
    const HELP: &str = "The object and what to ask of it, as in a URL: CLASS/NAME[/PATH][?QUERY]; or CLASS NAME [PATH], with the name as it \
                        is listed";

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        let words = texts(words)?;
        let url = || format!("{}, with a path and a query as in counter/alice/add?n=2", shape());
        let (object, below, rest) =
            Target::read(&words).map_err(|error| if error == shape() { url() } else { error })?;
        let is_url = words[0].contains('/');
        let (below, rest) = match rest.split_first() {
            Some((path, rest)) if !is_url => (*path, rest),
            _ => (below, rest),
        };
        nothing_more(rest)?;
        if !below.is_empty() && !below.starts_with(['/', '?']) {
            return Err(format!("the path `{below}` does not begin with `/` or `?`"));
        }
        Ok(Self { path: format!("/{}/{}{}", object.class, object.segment(), path::below(below)) })
    }
}

impl Words for Scope {
    const NAMES: &[&str] = &["CLASS|OBJECT"];
    const HELP: &str = "Only this class, or only this object: CLASS/NAME, CLASS/@ID or CLASS NAME";
    const REQUIRED: bool = false;

    fn of(words: &[&OsStr]) -> Result<Self, String> {
        let words = texts(words)?;
        match words[..] {
            [] => Ok(Self::All),
            [class] if !class.contains('/') => {
                Ok(Self::Class(ClassName::parse(class).map_err(|error| error.to_string())?))
            }
            _ => {
                let (object, rest) = Target::read_whole(&words)?;
                nothing_more(rest)?;
                Ok(Self::Object(object))
            }
        }
    }
}

fn texts<'a>(words: &[&'a OsStr]) -> Result<Vec<&'a str>, String> {
    let text = |word: &&'a OsStr| word.to_str().ok_or_else(|| format!("`{}` is not UTF-8", word.display()));
    words.iter().map(text).collect()
}

fn nothing_more(words: &[&str]) -> Result<(), String> {
    match words.first() {
        None => Ok(()),
        Some(word) => Err(format!("`{word}` is one argument too many; quote what belongs together")),
    }
}

/// Arguments that are parsed together, because their number depends on the form of the first.
trait Words: Sized {
    const NAMES: &[&str];
    const HELP: &str;
    const REQUIRED: bool = true;

    fn of(words: &[&OsStr]) -> Result<Self, String>;
}

/// The id of the arguments in clap's tables.
const ID: &str = "target";

fn augment<T: Words>(command: Command) -> Command {
    let words = Arg::new(ID)
        .value_names(T::NAMES)
        .help(T::HELP)
        .required(T::REQUIRED)
        // Any number to clap, because options may stand between them; `Words::of` counts them.
        .num_args(1..)
        .action(ArgAction::Append)
        .value_parser(ValueParser::os_string());
    command.arg(words)
}

fn from_matches<T: Words>(matches: &ArgMatches) -> Result<T, clap::Error> {
    let words: Vec<&OsStr> = matches.get_many::<OsString>(ID).unwrap_or_default().map(OsString::as_os_str).collect();
    T::of(&words).map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))
}

macro_rules! clap_arguments {
    ($($name:ident)*) => {$(
        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                augment::<Self>(command)
            }
            fn augment_args_for_update(command: Command) -> Command {
                augment::<Self>(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                from_matches(matches)
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = from_matches(matches)?;
                Ok(())
            }
        }
    )*};
}
clap_arguments! { ObjectArg ObjectAndSql ObjectAndMethod ObjectAndFile RequestTarget Scope }

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "@59002eb8cf872e541722977a258a12d6a93bbe8192b502e1c0cb250aa91af234";

    fn read<T: Words>(line: &[&str]) -> Result<T, String> {
        T::of(&line.iter().map(OsStr::new).collect::<Vec<_>>())
    }

    fn segment(line: &[&str]) -> Result<String, String> {
        read::<ObjectArg>(line).map(|ObjectArg(target)| format!("{}/{}", target.class, target.segment()))
    }

    #[test]
    fn both_forms_reach_the_same_object() {
        let upper = ID.to_uppercase();
        for (url, words, segments) in [
            ("counter/alice", ["counter", "alice"], "counter/alice"),
            ("/counter/alice", ["counter", "alice"], "counter/alice"),
            ("counter/a%2Fb%20c%25%3F%23%C3%A9", ["counter", "a/b c%?#é"], "counter/a%2Fb%20c%25%3F%23%C3%A9"),
            ("counter/é#1 x", ["counter", "é#1 x"], "counter/%C3%A9%231%20x"),
            ("counter/@bob", ["counter", "@bob"], "counter/%40bob"),
            ("counter/%40bob", ["counter", "@bob"], "counter/%40bob"),
            (&format!("counter/{ID}"), ["counter", ID], &format!("counter/{ID}")),
            (&format!("counter/{upper}"), ["counter", &upper], &format!("counter/{}", upper.replace('@', "%40"))),
        ] {
            assert_eq!(segment(&[url]).as_deref(), Ok(segments), "{url}");
            assert_eq!(segment(&words).as_deref(), Ok(segments), "{words:?}");
        }
        let name = format!("counter/{}", ID.replace('@', "%40"));
        assert_eq!(segment(&[&name]), Ok(name), "an id is a name if its @ is encoded");
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_way_out() {
        for (line, says) in [
            (&[][..], "CLASS/NAME"),
            (&["counter"], "CLASS/NAME"),
            (&["counter/"], "CLASS/NAME"),
            (&["counter", ""], "CLASS/NAME"),
            (&["counter/?q"], "CLASS/NAME"),
            (&["counter//x"], "CLASS/NAME"),
            (&["Counter/x"], "is not a class name"),
            (&["Counter", "x"], "is not a class name"),
            (&["counter/a/b"], "%2F"),
            (&["counter/a?b"], "%3F"),
            (&["counter/a%"], "%25"),
            (&["counter/a%4"], "%25"),
            (&["counter/a%é"], "%25"),
            (&["counter/%FF"], "UTF-8"),
            (&["counter/alice", "bob"], "too many"),
            (&["counter", "alice", "bob"], "too many"),
        ] {
            let error = segment(line).expect_err("it is refused");
            assert!(error.contains(says), "{line:?}: {error}");
        }
    }

    #[test]
    fn what_follows_an_object_is_read_in_both_forms() {
        for line in [&["notes/ann", "SELECT 1"][..], &["notes", "ann", "SELECT 1"]] {
            let ObjectAndSql { object, sql } = read(line).unwrap();
            assert_eq!((object.to_string().as_str(), sql.as_str()), ("notes/ann", "SELECT 1"));
            let ObjectAndFile { object, file } = read(line).unwrap();
            assert_eq!((object.to_string().as_str(), file.to_str()), ("notes/ann", Some("SELECT 1")));
        }
        let ObjectAndFile { object, file } = read(&["notes", "ann", "a/b.sqlite"]).unwrap();
        assert_eq!((object.to_string().as_str(), file.to_str()), ("notes/ann", Some("a/b.sqlite")));
        for wrong in [&["notes/ann"][..], &["notes", "ann"], &["notes/ann", "a", "b"], &["notes", "ann", "a", "b"]] {
            assert!(read::<ObjectAndSql>(wrong).is_err(), "{wrong:?}");
            assert!(read::<ObjectAndFile>(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn requests_are_typed_like_urls() {
        for (line, path) in [
            (&["counter/alice"][..], "/counter/alice"),
            (&["/counter/alice"], "/counter/alice"),
            (&["counter/alice/"], "/counter/alice/"),
            (&["counter/alice?n=2"], "/counter/alice?n=2"),
            (&["counter/alice/add?n=2&m=a b"], "/counter/alice/add?n=2&m=a%20b"),
            (&["counter/a%2Fb/x/y"], "/counter/a%2Fb/x/y"),
            (&["counter/@bob/@x%20"], "/counter/%40bob/@x%20"),
            (&["counter", "alice"], "/counter/alice"),
            (&["counter", "a/b", "/x?q=1"], "/counter/a%2Fb/x?q=1"),
            (&["counter", "a?b", "?q"], "/counter/a%3Fb?q"),
        ] {
            assert_eq!(read::<RequestTarget>(line).map(|target| target.path).as_deref(), Ok(path), "{line:?}");
        }
        for wrong in [&["counter"][..], &["counter/"], &["counter//x"], &["counter", "a", "x"], &["counter/a", "/x"]] {
            assert!(read::<RequestTarget>(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_scope_is_all_a_class_or_an_object() {
        assert_eq!(read(&[]), Ok(Scope::All));
        assert_eq!(read(&["counter"]), Ok(Scope::Class(ClassName::parse("counter").unwrap())));
        for line in [&["counter/a%2Fb"][..], &["counter", "a/b"]] {
            let Ok(Scope::Object(target)) = read(line) else { panic!("{line:?} is an object") };
            assert_eq!((target.class.as_str(), target.logged_as()), ("counter", "a/b"));
        }
        assert!(read::<Scope>(&["Counter"]).is_err());
    }
}
