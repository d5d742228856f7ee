"""Services: one module a service, with a class of the module's name. `service` is the base class."""
