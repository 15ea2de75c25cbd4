"""How a model gets onto a device: signed bundles, two slots, a trial, and the way back.

`bundle` and `manifest` are what travels, `keys` who is believed, `signing` makes one. On the device
`store` keeps two models and says which one runs, `install` lets a new one in after `examination`,
`trial` watches it in its first runs and takes it back. `state` is pure; `disk` alone touches the
store's files. Imports neither the command line nor what needs a network.
"""
