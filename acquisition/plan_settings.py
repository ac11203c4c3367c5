"""What settings of plans have in common: checked at once, refused in plain words."""

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from cryoline.acquisition.errors import PlanRefused

__all__ = ["Finite", "NotNegative", "Pixels", "PlanSettings", "Positive"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=8192)]


class PlanSettings(BaseModel):
    """The root of a plan's settings: no unknown key, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise PlanRefused(
                f"{cls.__name__}: {name} = {first['input']!r}: {first['msg']}"
            ) from error
