"""A cloud for Ray's autoscalers: fake machines on this one, and those that are gone are gone."""

from typing import Any

from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Cloud(FakeMultiNodeProvider):
    """Ray's fake machines, of which a cloud lists those that run.

    Ray's own lists a machine whose raylet was killed for ever. The first autoscaler then waits for it instead
    of asking for another one, as long as somebody wants its resources: for minutes. No cloud does that.
    """

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: dict[str, float], labels: Any
    ) -> None:
        """A machine detects its memory itself, and does not accept a value."""
        told = {name: amount for name, amount in resources.items() if name != "memory"}
        super().create_node_with_resources_and_labels(node_config, tags, count, told, labels)

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self.lock:
            for name, entry in list(self._nodes.items()):
                if _is_gone(entry):
                    del self._nodes[name]
                    entry["node"].kill_all_processes(check_alive=False, allow_graceful=False)
            return super().non_terminated_nodes(tag_filters)


def _is_gone(entry: dict[str, Any]) -> bool:
    if "node" not in entry:
        return False  # the head
    raylets = entry["node"].all_processes.get(PROCESS_TYPE_RAYLET, [])
    return any(raylet.process.poll() is not None for raylet in raylets)
