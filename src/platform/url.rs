//! URL target.
