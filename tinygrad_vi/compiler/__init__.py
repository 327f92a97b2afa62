"""The compiler: a scalar program in, a matrix program out.  Each pass is a file of its own.

trace    run the user's function once on Values and read its record
form     the record in canonical form: leaves, elementwise maps, and one contraction
reverse  its derivatives, in the same form, by the rules of the operation table
"""
