"""The networks. Each takes raw RGB pixels and gives P(fake), with stock Keras layers only.

A model of stock layers with its preprocessing inside loads from its `.h5` in any process that has Keras.
"""
