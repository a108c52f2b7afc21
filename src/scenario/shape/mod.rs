//! The shape of a scenario file as data: one description, from which both the validation of a file and the JSON
//! Schema for editors come, so that they cannot disagree.
//!
//! `scalar` holds the kinds of single values, `check` and `schema` the two readings of the description, and the rest the
//! description itself, a file for each part. What depends on more than one place in the file is for `lower`.

mod alert;
mod autoscale;
mod balance;
mod capacity;
mod chaos_mesh;
mod check;
mod cluster;
mod deploy;
mod faults;
mod file;
mod journey;
mod scalar;
mod schema;
mod traffic;
mod usage;

pub use check::{check, fill, respell};
pub use deploy::{SETTLE, SPREAD_ERRORS, SPREAD_WITHIN};
pub use faults::{CLUSTER_KINDS, KINDS, LOCAL_KINDS};
pub use file::SCENARIO;
pub use journey::METHODS;
pub use scalar::{Scalar, is_url};
pub use schema::schema;

/// What may stand at a place.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A single value.
    Scalar(Scalar),
    /// A map with known keys.
    Object(&'static Object),
    /// A list of at least so many items.
    List(&'static Shape, usize),
    /// A map with keys of the user's choice.
    Map {
        /// What a key must be.
        keys: Keys,
        /// What stands under each.
        value: &'static Shape,
        /// At least so many.
        min: usize,
    },
    /// Told apart by what YAML calls it: a scalar, a list or a map.
    Kinds {
        /// A scalar.
        scalar: Option<Scalar>,
        /// A list of these.
        list: Option<&'static Shape>,
        /// A map.
        map: Option<&'static Shape>,
    },
    /// A map told apart by a key that only it has; with none of the keys it is the first.
    Tagged(&'static [(&'static str, &'static Object)]),
    /// Anything at all: a JSON body.
    Any,
}

/// What the keys of a map must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Any text.
    Text,
    /// Letters, digits, `-` and `_`: a name that templates use.
    Variable,
    /// Letters, digits, `-`, `_` and `.`: a name that reports and file names use.
    Label,
    /// An HTTP header name.
    Header,
    /// A JSON path.
    JsonPath,
}

/// A map with known keys.
#[derive(Debug)]
pub struct Object {
    /// Its name in the schema.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys.
    pub fields: &'static [Field],
    /// What its keys must be together.
    pub rules: &'static [Rule],
    /// Keys that people try, and what to say to them.
    pub hints: &'static [(&'static str, &'static str)],
    /// Keys that begin with `x-` are the user's own.
    pub extensible: bool,
}

impl Object {
    /// To be completed with `..Object::NEW`.
    pub const NEW: Object = Object {
        name: "",
        doc: "",
        fields: &[],
        rules: &[],
        hints: &[],
        extensible: false,
    };
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// What keys of a map must be together.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Exactly one of these.
    One(&'static [&'static str]),
    /// At most one of these.
    AtMostOne(&'static [&'static str]),
    /// The first makes no sense together with the second.
    Not(&'static str, &'static str),
    /// The first makes no sense without the second.
    Needs(&'static str, &'static str),
    /// At least one of all keys.
    Some,
}

/// A key of an object.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What stands under it.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
    /// What holds without it, as it would be written; `{}` is an object of defaults.
    pub default: Option<&'static str>,
    /// How it may be written.
    pub example: Option<&'static str>,
}

impl Field {
    /// A field that may be left out.
    pub const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            doc,
            default: None,
            example: None,
        }
    }
    /// A field with a single value.
    pub const fn of(name: &'static str, scalar: Scalar, doc: &'static str) -> Self {
        Self::new(name, Shape::Scalar(scalar), doc)
    }
    /// It must be there.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// What holds without it.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
    /// How it may be written.
    pub const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }
}
