"""Every setting of Stretto: type, default, what it does. `config.py` says where values come from.

`python -m stretto.agent.reference > agent/CONFIGURATION.md` makes the page of reference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from stretto.agent.call import SessionOptions
from stretto.agent.canned import Canned
from stretto.agent.server.serve_settings import ServeSettings
from stretto.agent.setting_types import NESTED, PREFIX, Count, Key, Natural, Positive, Probability, Section
from stretto.llm.language_model import Effort
from stretto.tools.mcp import McpOptions
from stretto.tools.mqtt.message import Message, check_topic
from stretto.tools.mqtt.options import BrokerOptions

if TYPE_CHECKING:
    from stretto.llm.remote import RemoteOptions


class CannedSettings(Section):
    """Sentences not made by the model. An empty one is not spoken."""

    greeting: str = Canned.greeting
    """Spoken first. With the concierge's tools it is the concierge's own unless it is set."""
    apology: str = Canned.apology
    """When a part failed and there is no reply."""
    not_heard: str = Canned.not_heard
    """When the caller spoke and no words were recognised."""
    one_moment: str = Canned.one_moment
    """While a tool runs for long."""
    still_there: str = Canned.still_there
    """When the caller is silent for long."""
    goodbye: str = Canned.goodbye
    """Before the agent hangs up on a silent caller."""
    too_long: str = Canned.too_long
    """When the longest call is over."""
    transferring: str = Canned.transferring
    """Before the call is handed over to a person."""
    confirm: str = Canned.confirm
    """Before a tool with `confirm` runs; {action} is what it does, and with what values."""
    confirm_again: str = Canned.confirm_again
    """The same for something that was done before in this call."""
    not_confirmed: str = Canned.not_confirmed
    """When there was no clear answer to that question."""

    @model_validator(mode="after")
    def _can_be_said(self) -> CannedSettings:
        Canned(**self.model_dump())
        return self


class CallSettings(Section):
    """How a call is led. Times are milliseconds (`_ms`) or seconds (`_s`)."""

    greeting: str | None = SessionOptions.greeting
    """Spoken first instead of `canned.greeting`; "" for no greeting."""
    commit_silence_ms: Positive = SessionOptions.commit_silence_ms
    """A turn that looks finished is over after so long a silence."""
    doubtful_silence_ms: Positive = SessionOptions.doubtful_silence_ms
    """The same for a turn of which the model is not sure."""
    unfinished_silence_ms: Positive = SessionOptions.unfinished_silence_ms
    """The same for a turn that looks unfinished."""
    soft_end_ms: Positive = SessionOptions.soft_end_ms
    """After so long a silence a reply is prepared; nothing of it is heard before the turn is over."""
    use_p_end: bool = SessionOptions.use_p_end
    """Ask the model, too, whether the caller has finished."""
    p_end_sure: Probability = SessionOptions.p_end_sure
    """From this probability of an end on the turn counts as finished."""
    p_end_unfinished: Probability = SessionOptions.p_end_unfinished
    """Below this probability of an end it counts as unfinished."""
    speculate: bool = SessionOptions.speculate
    """Prepare replies while the caller may still go on."""
    interruptible: bool = SessionOptions.interruptible
    """A caller who speaks stops the agent."""
    draft_deadline_ms: Positive | None = SessionOptions.draft_deadline_ms
    """A reply is written within so long, however good it is by then."""
    max_tool_rounds: Count = SessionOptions.max_tool_rounds
    """How often in a turn the model may call tools and read what they gave."""
    one_moment_ms: Positive = SessionOptions.one_moment_ms
    """A tool that runs for longer is covered by a sentence."""
    answer_keys: bool = SessionOptions.answer_keys
    """What a caller enters by keys of the telephone is answered like words."""
    keys_pause_s: Positive = SessionOptions.keys_pause_s
    """Without another key for so long what was entered counts as whole; `#` ends it at once."""
    silence_prompt_s: Positive = SessionOptions.silence_prompt_s
    """A caller silent for so long is asked whether they are still there."""
    silence_prompts: Natural = SessionOptions.silence_prompts
    """So many unanswered questions, then the agent says goodbye."""
    longest_call_s: Positive = SessionOptions.longest_call_s
    """A call ends after so long."""
    caller_gone_s: Positive = SessionOptions.caller_gone_s
    """A call ends when no sound arrived, not even silence, for so long."""
    recogniser_timeout_s: Positive = SessionOptions.recogniser_timeout_s
    """How long the recogniser may take for a turn's last words."""
    model_timeout_s: Positive = SessionOptions.model_timeout_s
    """How long the model may take for a reply."""
    synthesiser_timeout_s: Positive = SessionOptions.synthesiser_timeout_s
    """How long the voice may take for a clause."""
    tool_timeout_s: Positive = SessionOptions.tool_timeout_s
    """How long a tool may take, whatever its own limit."""
    canned: CannedSettings = CannedSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> CallSettings:
        SessionOptions(**self.model_dump(exclude={"canned"})).turn_options()
        return self


class RemoteSettings(Section):
    """Counts where `model` is the URL of a server of OpenAI's chat completions."""

    # The defaults are those of `RemoteOptions`, and a test says so: importing it would cost every command
    # the import of its client.
    model: str | None = None
    """The model's name on that server, unless the URL says it (`#name`); else the first that it offers."""
    key: Key | None = None
    """API key of that server; without it the variable `STRETTO_MODEL_KEY` counts."""
    connect_s: Positive = 3.0
    """Seconds that connecting may take."""
    first_chunk_s: Positive = 6.0
    """Seconds until an answer begins."""
    draft_s: Positive = 12.0
    """Seconds for a whole reply with all second tries."""
    retries: Natural = 2
    """Second tries after errors that may pass."""
    diffusing: bool = False
    """Ask for a diffusion model's canvases, as Mercury sends them."""
    effort: Literal["openai", "mercury"] | None = None
    """Pass `effort` on in these words; without it nothing is sent, for some servers refuse the field."""

    def url(self, model: str) -> str:
        """`model`, a URL, with the name of the model behind it where it has none."""
        named = "#" in model or "model=" in model
        return f"{model}#{quote(self.model)}" if self.model and not named else model

    def options(self) -> RemoteOptions:
        """How the server is asked."""
        from stretto.llm.remote import EFFORTS, RemoteOptions

        fields = self.model_dump(exclude={"model", "key", "effort"})
        return RemoteOptions(efforts=EFFORTS[self.effort] if self.effort else None, **fields)


class MqttSettings(Section):
    """A broker that tools publish to, that is told of every call and takes commands; see agent/MQTT.md."""

    url: str | None = None
    """Address of the broker, as in `mqtt://127.0.0.1:1883` (mqtts:// to encrypt); none without it."""
    topic: str = "stretto"
    """Where calls are told of: `<topic>/<session>/…`. Another one for each agent on a broker."""
    username: str | None = None
    """Name that the broker knows."""
    password: SecretStr | None = None
    """The password of that name."""
    tls: bool = False
    """Encrypt, whatever the address says."""
    ca_file: Path | None = None
    """File with the certificates to trust, instead of the system's."""
    every_event: bool = False
    """Publish canvases and words that may still change, too: many events a second."""

    @model_validator(mode="after")
    def _names_a_broker(self) -> MqttSettings:
        check_topic(self.topic)
        self.options()
        return self

    def options(self) -> BrokerOptions | None:
        """How to reach the broker; None where there is none. Raises ValueError."""
        if self.url is None:
            return None
        return BrokerOptions(
            self.url,
            self.username,
            self.password.get_secret_value() if self.password else None,
            self.tls,
            self.ca_file,
            will=Message(f"{self.topic}/status", b"offline", retain=True),
        )


class McpSettings(Section):
    """A server of the Model Context Protocol whose tools are offered, under a name of your choice."""

    command: str | None = None
    """Program to start and speak to; or else give `url`."""
    args: list[str] = Field(default=[])
    """Arguments of that program."""
    env: dict[str, SecretStr] = Field(default={})
    """Variables of that program, beside PATH, HOME and a few more."""
    cwd: Path | None = None
    """Folder that it runs in."""
    url: str | None = None
    """Address of a server that runs, as in `https://shop.example/mcp` (streamable HTTP)."""
    headers: dict[str, SecretStr] = Field(default={})
    """Headers of every request to it, as in `{ Authorization = "Bearer ..." }`."""
    timeout_s: Positive = 30.0
    """How long a call may take."""
    connect_s: Positive = 20.0
    """How long starting and connecting may take."""
    confirm: Literal["destructive", "unless_read_only", "always", "never"] = "destructive"
    """Tools that need the caller's yes: those not said to be harmless, not said to only read, all, none."""

    @model_validator(mode="after")
    def _one_way(self) -> McpSettings:
        self.options()
        return self

    def options(self) -> McpOptions:
        """How the server is reached."""
        plain = self.model_dump(exclude={"env", "headers", "args"})
        env, headers = (
            {name: value.get_secret_value() for name, value in given.items()}
            for given in (self.env, self.headers)
        )
        return McpOptions(args=tuple(self.args), env=env, headers=headers, **plain)


class Settings(BaseSettings):
    """Shared by all commands that have a flag of the same name."""

    model_config = SettingsConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_assignment=True,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        env_ignore_empty=True,
        enable_decoding=False,
    )

    model: str | None = None
    """Folder of a model, or URL of an OpenAI-compatible server; without it the embedded model."""
    effort: Effort = SessionOptions.effort
    """How carefully a reply is written: more passes, same length."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the models run on; auto takes a GPU where there is one."""
    stt: str | None = None
    """Recogniser: name or folder; without it the embedded tiny.en."""
    voice: str | None = None
    """The agent's Piper voice: name or file; without it the embedded en_US-joe-medium."""
    tools: str | None = None
    """Module or file with `@tool` functions; without it the concierge."""
    system: str | None = None
    """The model's instructions; without it the concierge's, or plain ones for your own tools."""
    facts: Path | None = None
    """Text or Markdown file about your business that the agent looks things up in."""
    call: CallSettings = CallSettings()
    serve: ServeSettings = ServeSettings()
    remote: RemoteSettings = RemoteSettings()
    mqtt: MqttSettings = MqttSettings()
    mcp: dict[str, McpSettings] = {}
    """Servers of the Model Context Protocol by names of your choice: a table `[mcp.NAME]` for each."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # what is given by name comes from the file

    def session_options(
        self, system: str, canned: Canned | None = None, rate: int | None = None
    ) -> SessionOptions:
        """A call's options. `canned`: sentences that count where none is set; `rate`: of the way in, Hz."""
        said = self.call.canned.model_dump(exclude_unset=True)
        return SessionOptions(
            system=system,
            effort=self.effort,
            rate=rate,
            canned=replace(canned or Canned(), **said),
            **self.call.model_dump(exclude={"canned"}),
        )
