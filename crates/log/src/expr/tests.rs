//! Expressions as text, as trees and bound.
