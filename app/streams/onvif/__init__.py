"""Cameras spoken with over ONVIF: probed, turned, listened to.

The few SOAP calls are written here, on our own bounded connections: every byte goes to the one address that was
checked, an answer is believed only within bounds, and a call that fails spoils no other.
"""
