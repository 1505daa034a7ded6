"""A home of simulated devices on MQTT, to be led by voice: `stretto demo-home`."""
