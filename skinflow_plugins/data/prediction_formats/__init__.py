"""Prediction files of this and other programs: what they look like, and how each row of them is read.

`files` and `workbook` turn a file into rows of named values, `recognise` says whose rows they are, one module
per format reads a row of it, `values` checks what is read, `labels` reads the labels that stand elsewhere.
"""
